"""`PairIndex`: both halves of what is known of pairs, and what is counted about it."""

import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np

from laion_protocol import InvalidRequest
from laion_protocol.messages.dedupe import SUSPICIOUS_FROM

from .bloom import Flags, Keys
from .committed import Committed
from .holders import Holders
from .reserved import Reserved
from .shared_file import SharedFile, SharedLock, create

_MAGIC: Final = int.from_bytes(b"LWDEDUP2", "little")
_CONTROL: Final = "control"
_GENERATION: Final = 1
#: A rebuild's progress: shards read, and of those unreadable.
_REBUILT, _UNREADABLE = 100, 101
#: Which filters are taken: those in the directory of this number.
_SET: Final = 102
#: One more than the number of filters that are not what this machine should know.
_UNREADY: Final = 103
#: When the reservations of attempts that are over were last freed, Unix time.
_SWEPT: Final = 104
#: The counters, in the order in which they stand in the control file from number 2 on.
COUNTERS: Final = (
    "asked", "new", "known", "taken", "unreserved", "suspicious", "committed", "refused", "freed",
)  # fmt: skip
#: Pairs that one attempt may take: nobody keeps the project's pairs from others by asking for all
#: there are. A whole WAT file has about 405,000, a WARC file as many.
MOST_OF_A_LEASE: Final = 500_000
#: Pairs that all attempts of an account may take: ten whole files in work. What is over that is
#: answered, and not reserved: a volunteer with many machines loses nothing but some duplicates.
MOST_OF_AN_ACCOUNT: Final = 4_000_000


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
        self._parts: _Parts | None = None

    def ask(self, job: str, lease: str, keys: Keys, *, account: str = "") -> Flags:
        """Which keys are new to this job: neither committed nor another job's. They are this
        attempt's from now on; what an earlier attempt of the job has left becomes its own.

        Raises:
            InvalidRequest: it has more pairs than any archive file holds.
        """
        parts = self._open()
        unique, whose = np.unique(keys, return_inverse=True)
        with self._current(parts):
            row = parts.holders.row(job, account, lease)
            if parts.holders.reserved(row) >= MOST_OF_A_LEASE:
                parts.count("refused", 1)
                raise InvalidRequest(
                    f"this lease took {MOST_OF_A_LEASE:,} pairs, more than an archive file has; "
                    "do not ask about more"
                )
            parts.count("asked", len(keys))
            known = parts.committed.contains(unique)
            rest = unique[~known]
            now = int(time.time())
            claim = parts.reserved.claim(
                row,
                rest,
                now=now,
                until=now + int(self._reserve_for),
                reserve=row > 0
                and parts.holders.reserved_by(account) + len(rest) <= MOST_OF_AN_ACCOUNT,
                kin=parts.holders.of_job(job),
            )
            if claim.gained:
                parts.holders.gained(row, claim.gained)
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
            parts.committed.add(keys)
            parts.count("committed", len(keys))
        parts.committed.sync()

    def sweep_due(self, every: float) -> bool:
        """Whether no process has said yes to this for so many seconds; who is told yes, sweeps."""
        header, now = self._open().control.header, int(time.time())
        if 0 <= now - int(header[_SWEPT]) < every:
            return False
        header[_SWEPT] = now
        return True

    def holders(self) -> tuple[str, ...]:
        """The leases that have reservations, or had some that ran out."""
        parts = self._open()
        with self._current(parts):
            return tuple(parts.holders.leases())

    def free(self, leases: Iterable[str]) -> int:
        """End what these leases have reserved; how many pairs that were."""
        parts = self._open()
        with self._current(parts):
            rows = parts.holders.leases()
            gone = [rows[lease] for lease in leases if lease in rows]
            freed = parts.reserved.free(gone, int(time.time()))
            parts.holders.clear(gone)  # last: who is killed before frees them again
            parts.count("freed", freed)
        return freed

    def fresh(self) -> Committed:
        """Filters like those here, with nothing in them, to take their place by `replace`. Who
        makes some excludes all others."""
        parts = self._open()
        for left in self._directory.glob("filters-*"):  # by rebuilds that were cut off
            if left != parts.filters(parts.set_now):
                shutil.rmtree(left)
        directory = parts.filters(parts.set_now + 1)
        directory.mkdir()
        return Committed(directory, capacity=self._capacity, rate=self._rate)

    def replace(self) -> None:
        """Take the filters of `fresh`, which are on disk, instead of those here. One number says
        which are taken: whoever is killed in this leaves the old ones or the new ones, whole."""
        parts = self._open()
        with self._current(parts):
            old = parts.set_now
            parts.control.header[_SET] = old + 1
            parts.control.sync()
        shutil.rmtree(parts.filters(old), ignore_errors=True)

    @property
    def ready(self) -> bool:
        """Whether the filters are what this machine should know."""
        parts = self._open()
        return int(parts.control.header[_UNREADY]) != parts.set_now + 1

    def unready(self) -> None:
        """They are not, until `replace`."""
        parts = self._open()
        parts.control.header[_UNREADY] = parts.set_now + 1
        parts.control.sync()

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

    def _open(self) -> "_Parts":
        if self._parts is None:
            self._directory.mkdir(parents=True, exist_ok=True)
            lock = SharedLock(self._directory / "lock")
            with lock.held():
                path = self._directory / _CONTROL
                if not path.exists():
                    create(path, (_MAGIC, 0), 0)
                self._parts = _Parts(
                    lock, self._directory, SharedFile(path, _MAGIC),
                    capacity=self._capacity, rate=self._rate, slots=self._slots,
                )  # fmt: skip
        return self._parts

    @contextmanager
    def _current(self, parts: "_Parts") -> Iterator[None]:
        """The lock, with the files that there are now."""
        with parts.lock.held():
            parts.refresh()
            yield


class _Parts:
    def __init__(
        self,
        lock: SharedLock,
        directory: Path,
        control: SharedFile,
        *,
        capacity: int,
        rate: float,
        slots: int,
    ) -> None:
        self.lock, self.control = lock, control
        self._directory, self._capacity, self._rate = directory, capacity, rate
        self._header = control.header
        self._seen = self._now()
        self.holders = Holders(directory)
        self.reserved = Reserved(directory, most=slots, changing=self._changing)
        self.committed = self._taken()

    @property
    def set_now(self) -> int:
        """The number of the filters that are taken."""
        return int(self._header[_SET])

    def filters(self, number: int) -> Path:
        """Where the filters of that number lie."""
        return self._directory / f"filters-{number}"

    def refresh(self) -> None:
        """Open again what another process replaced."""
        if self._seen != (now := self._now()):
            self.committed = self._taken()
            self.reserved.reload()
            self._seen = now

    def count(self, name: str, number: int) -> None:
        self._header[2 + COUNTERS.index(name)] += np.uint64(number)

    def counter(self, name: str) -> int:
        return int(self._header[2 + COUNTERS.index(name)])

    def _now(self) -> tuple[int, int]:
        return int(self._header[_GENERATION]), self.set_now

    def _taken(self) -> Committed:
        directory = self.filters(self.set_now)
        directory.mkdir(exist_ok=True)
        return Committed(
            directory, capacity=self._capacity, rate=self._rate, changing=self._changing
        )

    def _changing(self) -> None:
        """Tell other processes that there is another file: before there is, since who is killed
        between the two would else leave them with one that nobody has any more."""
        self._header[_GENERATION] += np.uint64(1)
        self._seen = self._now()
