"""`Committed`: the pairs of accepted shards, in as many Bloom filters as it takes.

A full filter is not refused and not stretched: a larger one with half its error is put beside it
(Almeida et al. 2007), so that all together stay under the stated rate however many there are.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from .bloom import BlockedBloom, Flags, Keys

_PATTERN: Final = "committed-*.bloom"
#: Each filter is so many times as large as the one before: five of them hold 341 times the first.
_GROWTH: Final = 4


class Committed:
    """The filters in a directory. Reading needs no lock; writers must exclude each other.

    Args:
        capacity: keys of the first filter, if there is none yet.
        rate: how often a new pair may be taken for known, all filters together.
        changing: called before there is another filter: others must `reload`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        capacity: int,
        rate: float,
        changing: Callable[[], None] = lambda: None,
    ) -> None:
        self._changing = changing
        self._directory = directory
        self._capacity = capacity
        self._rate = rate
        self.filters: list[BlockedBloom] = []
        self.reload()

    def reload(self) -> None:
        """Look which filters there are now."""
        self.filters = [BlockedBloom(path) for path in paths(self._directory)]

    def contains(self, keys: Keys) -> Flags:
        """Whether each key was committed."""
        found = np.zeros(len(keys), np.bool_)
        # The newest is the largest: most are found there, and not looked for again.
        for one in reversed(self.filters):
            left = np.flatnonzero(~found)
            found[left] = one.contains(keys[left])
        return found

    def add(self, keys: Keys) -> None:
        """Add keys; a filter is made for them where they need one.

        Raises:
            OSError: the disk has no room for another filter; some keys may be in.
        """
        left = np.unique(keys)
        left = left[~self.contains(left)]
        while len(left):
            if not self.filters or self._room() < 1:
                self._grow()
            room = self._room()
            self.filters[-1].add(left[:room])
            left = left[room:]

    def sync(self) -> None:
        """Return when all is on disk. Only the newest filter is ever written to, and a full one
        was synced before the next was made."""
        for one in self.filters[-1:]:
            one.sync()

    def _room(self) -> int:
        return self.filters[-1].capacity - self.filters[-1].held

    def _grow(self) -> None:
        self.sync()
        number = len(self.filters)
        path = self._directory / f"committed-{number:03}.bloom"
        capacity = self.filters[-1].capacity * _GROWTH if self.filters else self._capacity
        self._changing()
        # 1/2 + 1/4 + 1/8 … of the rate
        self.filters.append(BlockedBloom.create(path, capacity, self._rate / 2 ** (number + 1)))


def paths(directory: Path) -> list[Path]:
    """The files of the filters there, oldest first."""
    return sorted(directory.glob(_PATTERN))
