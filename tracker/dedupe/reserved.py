"""`Reserved`: which attempt is at work on a pair, and until when.

A table with open addressing in a mapped file: key, owner (a row of `Holders`) and end for each
slot. Whatever goes wrong here costs a picture that is fetched twice, never one that is lost for
longer than a reservation lasts: so a slot is simply free again when its time is over, nothing is
ever deleted, and nothing needs to be on disk.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from .bloom import Flags, Keys
from .shared_file import SharedFile, create

_MAGIC: Final = int.from_bytes(b"LWRESRV2", "little")
_SLOT_BYTES: Final = 16
_BITS, _USED = 1, 2
_FILE: Final = "reserved"
#: Slots that are looked at for a key. Runs of full slots are shorter at the loads allowed.
_PROBES: Final = 64
#: Share of slots that were ever used at which the table is made anew, without what ran out, and
#: the share that it has then at most.
_CROWDED: Final = 0.6
_ROOMY: Final = 0.4
_LEAST_BITS: Final = 16
_SPREAD: Final = np.uint64(0xD6E8FEB86659FD93)
#: An end in the past. Not 0, which says that a slot was never used: keys may lie behind it.
_OVER: Final = 1
#: Slots that are looked at together when reservations are freed.
_AT_ONCE: Final = 2**20

_Ints = npt.NDArray[np.int64]


class Claim(NamedTuple):
    """What became of each key."""

    taken: Flags  #: another job has it
    reserved: Flags  #: this attempt has it now; without either it is new, and there was no room
    gained: int  #: how many it had not before


class Reserved:
    """The table in a directory; everything under one lock that excludes all other users.

    Args:
        most: slots it may grow to (a power of two), 16 bytes each.
        changing: called before another file takes the place of the table: others must `reload`.
    """

    def __init__(
        self, directory: Path, *, most: int, changing: Callable[[], None] = lambda: None
    ) -> None:
        self._changing = changing
        self._path = directory / _FILE
        self._most_bits = max(_LEAST_BITS, most.bit_length() - 1)
        self._table: _Table | None = None
        self._full_until = 0
        self.reload()

    def reload(self) -> None:
        """Take the table that is there now."""
        self._table = _Table(self._path) if self._path.exists() else None

    @property
    def slots(self) -> int:
        """Its size."""
        return self._table.slots if self._table else 0

    def alive(self, now: int) -> int:
        """How many reservations have not run out."""
        return int(np.count_nonzero(self._table.untils > now)) if self._table else 0

    def claim(
        self,
        owner: int,
        keys: Keys,
        *,
        now: int,
        until: int,
        reserve: bool = True,
        kin: Iterable[int] = (),
    ) -> Claim:
        """Reserve each of these different keys that no other owner has, or renew it; what its
        `kin` have becomes the owner's.

        Without `reserve`, it is only looked.

        Raises:
            OSError: the disk has no room for a table.
        """
        if reserve:
            self._make_room(len(keys), now)
        if self._table is None:
            nothing = np.zeros(len(keys), np.bool_)
            return Claim(nothing, nothing.copy(), 0)
        family = np.array([owner, *kin], np.uint32)
        reserve = reserve and not self._full
        return self._table.claim(owner, family, keys, now, until, reserve=reserve)

    def free(self, owners: Iterable[int], now: int) -> int:
        """End all that these have; how many that were."""
        return self._table.free(np.fromiter(owners, np.int64), now) if self._table else 0

    @property
    def _full(self) -> bool:
        return self._full_until > 0

    def _make_room(self, keys: int, now: int) -> None:
        if now < self._full_until:
            return
        self._full_until = 0
        table = self._table
        if table is not None and table.used + keys <= _CROWDED * table.slots:
            return
        needed = self.alive(now) + keys
        bits = _LEAST_BITS
        while bits < self._most_bits and needed > _ROOMY * 2**bits:
            bits += 1
        if needed > _CROWDED * 2**bits:
            self._full_until = now + 60  # counting again for every question would be slow
            return
        self._changing()
        fresh = _Table.create(self._path, bits)
        if table is not None:
            live = table.untils > now
            fresh.insert(table.keys[live], table.owners[live], table.untils[live])
        self._table = fresh


class _Table:
    def __init__(self, path: Path) -> None:
        self._file = SharedFile(path, _MAGIC)
        self._header = self._file.header
        bits = int(self._header[_BITS])
        self.slots = 2**bits
        self._shift = np.uint64(64 - bits)
        self._last = np.int64(self.slots - 1)
        self.keys: Keys = self._file.array("<u8", self.slots)
        self.owners: npt.NDArray[np.uint32] = self._file.array("<u4", self.slots, 8 * self.slots)
        #: Unix time, seconds; 0: never used.
        self.untils: npt.NDArray[np.uint32] = self._file.array("<u4", self.slots, 12 * self.slots)

    @classmethod
    def create(cls, path: Path, bits: int) -> Self:
        create(path, (_MAGIC, bits, 0), _SLOT_BYTES * 2**bits)
        return cls(path)

    @property
    def used(self) -> int:
        """Slots that hold something, also what ran out."""
        return int(self._header[_USED])

    def claim(
        self,
        owner: int,
        family: npt.NDArray[np.uint32],
        keys: Keys,
        now: int,
        until: int,
        *,
        reserve: bool,
    ) -> Claim:
        taken, mine = np.zeros(len(keys), np.bool_), np.zeros(len(keys), np.bool_)
        gained = 0
        home = self._home(keys)
        open_ = np.arange(len(keys))
        while len(open_):
            slot, found = self._find(keys[open_], home[open_], now)
            own = found & np.isin(self.owners[slot], family)
            mine[open_[own]] = True
            if reserve:
                gained += int(np.count_nonzero(self.owners[slot[own]] != owner))
                self.owners[slot[own]] = owner
                self.untils[slot[own]] = until
            taken[open_[found & ~own]] = True
            if not reserve:
                break
            # Of several that want the same free slot, one gets it, the others look again.
            wanting = np.flatnonzero(~found & (slot >= 0))
            _, first = np.unique(slot[wanting], return_index=True)
            winners = wanting[first]
            places, whose = slot[winners], open_[winners]
            unused = int(np.count_nonzero(self.untils[places] == 0))
            self.keys[places] = keys[whose]
            self.owners[places] = owner
            self.untils[places] = until  # last: a process that dies here leaves a free slot
            self._header[_USED] += np.uint64(unused)
            mine[whose] = True
            gained += len(whose)
            open_ = open_[np.setdiff1d(wanting, winners, assume_unique=True)]
        return Claim(taken, mine, gained)

    def free(self, owners: npt.NDArray[np.int64], now: int) -> int:
        gone = np.zeros(int(owners.max(initial=0)) + 1, np.bool_)
        gone[owners] = True
        freed = 0
        for start in range(0, self.slots, _AT_ONCE):
            whose, untils = (a[start : start + _AT_ONCE] for a in (self.owners, self.untils))
            over = np.flatnonzero(untils > now)
            held = whose[over]
            over = over[(held < len(gone)) & gone[np.minimum(held, len(gone) - 1)]]
            untils[over] = _OVER
            freed += len(over)
        return freed

    def _find(self, keys: Keys, home: _Ints, now: int) -> tuple[_Ints, Flags]:
        """For each key its slot, and whether it lives there; else the first free one, or -1."""
        slot, found = np.full(len(keys), -1, np.int64), np.zeros(len(keys), np.bool_)
        open_ = np.arange(len(keys))
        for step in range(_PROBES):
            if not len(open_):
                break
            here = (home[open_] + step) & self._last
            until = self.untils[here]
            same = (self.keys[here] == keys[open_]) & (until > 0)
            alive = until > now
            hit = same & alive
            slot[open_[hit]] = here[hit]
            found[open_[hit]] = True
            free = ~alive & (slot[open_] < 0)
            slot[open_[free]] = here[free]
            # A free slot of the past is not the end: the key may have found it full. Its own past
            # is: it never moves on while that is there.
            open_ = open_[~(same | (until == 0))]
        return slot, found

    def insert(
        self, keys: Keys, owners: npt.NDArray[np.uint32], untils: npt.NDArray[np.uint32]
    ) -> None:
        """Take different keys into an empty table that has room for them."""
        self._header[_USED] += np.uint64(len(keys))
        place, open_ = self._home(keys), np.arange(len(keys))
        while len(open_):
            here = place[open_]
            free = np.flatnonzero(self.untils[here] == 0)
            _, first = np.unique(here[free], return_index=True)
            winners = open_[free[first]]
            slots = place[winners]
            self.keys[slots], self.owners[slots] = keys[winners], owners[winners]
            self.untils[slots] = untils[winners]
            open_ = np.setdiff1d(open_, winners, assume_unique=True)
            place[open_] = (place[open_] + 1) & self._last

    def _home(self, keys: Keys) -> _Ints:
        return ((keys * _SPREAD) >> self._shift).astype(np.int64)
