"""`PairIndex`: both halves of what is known of pairs, and what is counted about it."""

import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np

from laion_protocol.messages.dedupe import SUSPICIOUS_FROM

from .bloom import Flags, Keys
from .committed import Committed, paths
from .reserved import Reserved, owner_of
from .shared_file import SharedFile, SharedLock, create

_MAGIC: Final = int.from_bytes(b"LWDEDUP1", "little")
_CONTROL: Final = "control"
_GENERATION: Final = 1
#: A rebuild's progress: shards read, and of those unreadable.
_REBUILT, _UNREADABLE = 100, 101
#: The counters, in the order in which they stand in the control file from number 2 on.
COUNTERS: Final = ("asked", "new", "known", "taken", "unreserved", "suspicious", "committed")
#: More pairs than any archive file holds. What an attempt asks beyond that is answered, but
#: reserves nothing: nobody can take the project's pairs away by asking for all there are.
_MOST_OF_A_LEASE: Final = 4_000_000
_LEASES: Final = 20_000


class PairIndex:
    """The project's pairs in a directory, which any number of processes of this machine share.

    Every method blocks for milliseconds, longer when a file grows; call them in a thread. Nothing
    is on the disk before the first call. Every method may raise `OSError` or `BrokenFile`.

    Args:
        capacity, rate: of the committed pairs, see `Committed`.
        slots: how many reservations there may be, see `Reserved`.
        reserve_for: seconds that a reservation lasts; longer than a job and its check take.
    """

    def __init__(
        self, directory: Path, *, capacity: int, rate: float, slots: int, reserve_for: float
    ) -> None:
        self._directory = directory
        self._capacity, self._rate, self._slots = capacity, rate, slots
        self._reserve_for = reserve_for
        self._asked: OrderedDict[str, int] = OrderedDict()
        self._parts: _Parts | None = None

    def ask(self, job: str, lease: str, keys: Keys) -> Flags:
        """Which keys are new to this job: neither committed nor another job's. They are reserved
        for it from now on."""
        parts = self._open()
        unique, whose = np.unique(keys, return_inverse=True)
        with self._current(parts):
            parts.count("asked", len(keys))
            known = parts.committed.contains(unique)
            rest = unique[~known]
            now = int(time.time())
            claim, anew = parts.reserved.claim(
                owner_of(job),
                rest,
                now=now,
                until=now + int(self._reserve_for),
                reserve=self._within_bounds(lease, len(keys)),
            )
            if anew:
                parts.changed()
            new = ~known
            new[~known] = ~claim.taken
            answer: Flags = new[whose]
            parts.count("new", int(np.count_nonzero(answer)))
            parts.count("known", int(np.count_nonzero(known)))
            parts.count("taken", int(np.count_nonzero(claim.taken)))
            parts.count("unreserved", int(np.count_nonzero(~claim.taken & ~claim.reserved)))
            parts.count("suspicious", int(len(keys) >= SUSPICIOUS_FROM and not answer.any()))
        return answer

    def commit(self, keys: Keys) -> None:
        """These pairs are in an accepted shard; on disk when this returns. Safe to repeat."""
        parts = self._open()
        with self._current(parts):
            if parts.committed.add(keys):
                parts.changed()
            parts.count("committed", len(keys))
        parts.committed.sync()

    def replace(self, rebuilt: Path) -> None:
        """Take the filters in that directory (same file system) instead of those here."""
        parts = self._open()
        with self._current(parts):
            for path in reversed(paths(self._directory)):
                path.unlink()
            for path in paths(rebuilt):
                path.rename(self._directory / path.name)
            parts.committed.reload()
            parts.changed()

    def empty(self, directory: Path) -> Committed:
        """Filters like those here, with nothing in them, to be made in that directory."""
        return Committed(directory, capacity=self._capacity, rate=self._rate)

    def rebuilding(self, done: int, unreadable: int) -> None:
        """Note how far a rebuild is, for every process to see."""
        header = self._open().control.header
        header[_REBUILT], header[_UNREADABLE] = done, unreadable

    def rebuilt(self) -> tuple[int, int]:
        """How far a rebuild is: shards read, and of those unreadable."""
        header = self._open().control.header
        return int(header[_REBUILT]), int(header[_UNREADABLE])

    def counters(self) -> dict[str, int]:
        """What was counted since the files were made, by any process."""
        parts = self._open()
        return {name: parts.counter(name) for name in COUNTERS}

    def look(self) -> tuple[Committed, int, int]:
        """The filters, the slots for reservations, and how many of those are in use."""
        parts = self._open()
        with self._current(parts):
            return parts.committed, parts.reserved.slots, parts.reserved.alive(int(time.time()))

    def _within_bounds(self, lease: str, keys: int) -> bool:
        asked = self._asked[lease] = self._asked.pop(lease, 0) + keys
        if len(self._asked) > _LEASES:
            self._asked.popitem(last=False)
        return asked <= _MOST_OF_A_LEASE

    def _open(self) -> "_Parts":
        if self._parts is None:
            self._directory.mkdir(parents=True, exist_ok=True)
            lock = SharedLock(self._directory / "lock")
            with lock.held():
                control = self._directory / _CONTROL
                if not control.exists():
                    create(control, (_MAGIC, 0), 0)
                self._parts = _Parts(
                    lock,
                    SharedFile(control, _MAGIC),
                    Committed(self._directory, capacity=self._capacity, rate=self._rate),
                    Reserved(self._directory, most=self._slots),
                )
        return self._parts

    @contextmanager
    def _current(self, parts: "_Parts") -> Iterator[None]:
        """The lock, with the files that there are now."""
        with parts.lock.held():
            parts.refresh()
            yield


class _Parts:
    def __init__(
        self, lock: SharedLock, control: SharedFile, committed: Committed, reserved: Reserved
    ) -> None:
        self.lock, self.committed, self.reserved = lock, committed, reserved
        self.control = control
        self._header = control.header
        self._seen = int(self._header[_GENERATION])

    def refresh(self) -> None:
        """Open again what another process replaced."""
        if int(self._header[_GENERATION]) != self._seen:
            self.committed.reload()
            self.reserved.reload()
            self._seen = int(self._header[_GENERATION])

    def changed(self) -> None:
        """Tell other processes that there is another file."""
        self._header[_GENERATION] += np.uint64(1)
        self._seen += 1

    def count(self, name: str, number: int) -> None:
        self._header[2 + COUNTERS.index(name)] += np.uint64(number)

    def counter(self, name: str) -> int:
        return int(self._header[2 + COUNTERS.index(name)])
