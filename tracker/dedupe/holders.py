"""`Holders`: the attempts that have reservations, so that these end when the attempt does.

A table in a mapped file, one row for each: a reservation names its row. Everything under the lock
of the files, as `Reserved`.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from .bloom import Keys
from .shared_file import SharedFile, create

_MAGIC: Final = int.from_bytes(b"LWHOLDR1", "little")
_FILE: Final = "holders"
#: Attempts at work at once. One more gets its answers, and no reservations.
ROWS: Final = 2**16
#: Bytes of a lease id: crawl, job and secret.
_LEASE_BYTES: Final = 112
_ROW_BYTES: Final = 8 + 8 + 8 + 4 + _LEASE_BYTES
_TOP: Final = 1

Rows = npt.NDArray[np.int64]


class Holders:
    """The table in a directory. A row is a number from 1 on; 0 is nobody."""

    def __init__(self, directory: Path) -> None:
        path = directory / _FILE
        if not path.exists():
            create(path, (_MAGIC, 0), _ROW_BYTES * ROWS)
        file = SharedFile(path, _MAGIC)
        self._header = file.header
        #: Who it is; 0: a free row.
        self._tags: Keys = file.array("<u8", ROWS)
        self._jobs: Keys = file.array("<u8", ROWS, 8 * ROWS)
        self._accounts: Keys = file.array("<u8", ROWS, 16 * ROWS)
        self._reserved: npt.NDArray[np.uint32] = file.array("<u4", ROWS, 24 * ROWS)
        self._leases: npt.NDArray[np.bytes_] = file.array(f"S{_LEASE_BYTES}", ROWS, 28 * ROWS)

    def row(self, job: str, account: str, lease: str) -> int:
        """The attempt's row, made if it has none; 0 if there is no room."""
        tag = _hashed(f"{job} {lease}")
        found = np.flatnonzero(self._used == tag)
        if len(found):
            return int(found[0]) + 1
        free = np.flatnonzero(self._used == 0)
        place = int(free[0]) if len(free) else int(self._header[_TOP])
        if place >= ROWS:
            return 0
        self._jobs[place], self._accounts[place] = _hashed(job), _hashed(account)
        self._reserved[place], self._leases[place] = 0, lease.encode()
        self._tags[place] = tag  # last: a process that dies before leaves a free row
        self._header[_TOP] = max(int(self._header[_TOP]), place + 1)
        return place + 1

    def of_job(self, job: str) -> Rows:
        """The rows of its attempts."""
        mine = (self._jobs[: len(self._used)] == _hashed(job)) & (self._used != 0)
        return np.flatnonzero(mine) + 1

    def gained(self, row: int, pairs: int) -> None:
        """It has so many more."""
        self._reserved[row - 1] += np.uint32(pairs)

    def reserved(self, row: int) -> int:
        """How many pairs this attempt took; none for nobody."""
        return int(self._reserved[row - 1]) if row else 0

    def reserved_by(self, account: str) -> int:
        """How many pairs all attempts of an account took."""
        top = len(self._used)
        mine = (self._accounts[:top] == _hashed(account)) & (self._used != 0)
        return int(self._reserved[:top][mine].sum(dtype=np.int64))

    def leases(self) -> dict[str, int]:
        """The lease of each row in use."""
        rows = np.flatnonzero(self._used)
        return {self._leases[row].decode(): int(row) + 1 for row in rows.tolist()}

    def clear(self, rows: Iterable[int]) -> None:
        """They are nobody's any more; nothing may be reserved for them."""
        self._tags[np.fromiter(rows, np.int64) - 1] = 0

    @property
    def _used(self) -> Keys:
        """The tags of all rows that were ever used."""
        return self._tags[: int(self._header[_TOP])]


def _hashed(text: str) -> np.uint64:
    digest = hashlib.sha256(text.encode()).digest()
    return np.uint64(int.from_bytes(digest[:8], "little") or 1)
