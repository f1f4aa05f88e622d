"""`ToCommit`: the keys of shards that are about to be accepted, on disk until they are committed.

A note is made before the queue is told to accept, and goes away after the keys are in the filter.
So there is no moment in which a tracker can die and leave an accepted shard whose pairs nobody
will ever commit; and none in which pairs are committed that no shard has.
"""

import contextlib
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from tracker.incoming import sync_directory

from .bloom import Keys

_SUFFIX: Final = ".keys"
_DIRECTORY: Final = "to-commit"


@dataclass(frozen=True, slots=True)
class Note:
    """The keys of one shard."""

    path: Path
    lease_id: str
    account: str
    keys: Keys


class ToCommit:
    """A directory with one file a shard: a line with lease and account, then the keys. Every
    method may raise `OSError`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / _DIRECTORY

    def put(self, lease_id: str, account: str, keys: bytes) -> Path:
        """Note it; on disk when this returns."""
        self._directory.mkdir(parents=True, exist_ok=True)
        temporary = self._directory / f".{secrets.token_hex(16)}"
        try:
            with temporary.open("xb") as file:
                file.write(f"{lease_id} {account}\n".encode() + keys)
                file.flush()
                os.fsync(file.fileno())
            path = self._directory / f"{lease_id}{_SUFFIX}"
            temporary.rename(path)
            sync_directory(self._directory)
            return path
        finally:
            temporary.unlink(missing_ok=True)

    def paths(self, after: float = 0) -> list[Path]:
        """The notes that are `after` seconds old or older, in any order."""
        latest = time.time() - after
        found = []
        for path in self._directory.glob(f"*{_SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime <= latest:
                    found.append(path)
        return found

    def jobs(self) -> set[str]:
        """The jobs whose shards are noted."""
        return {path.name.rpartition("~")[0] for path in self.paths()}

    def read(self, path: Path) -> Note | None:
        """One of them; None if another process was faster."""
        try:
            head, _, keys = path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        lease_id, _, account = head.decode().partition(" ")
        return Note(path, lease_id, account, np.frombuffer(keys, "<u8"))

    def remove(self, path: Path) -> bool:
        """It is committed, or will never be here; False if another process was faster."""
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        return True
