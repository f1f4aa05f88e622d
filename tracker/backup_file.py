"""A backup's file: what every key of Redis holds, as lines of JSON, compressed.

    {"laion_tracker_backup": 1, "schema": 2, "made_at": "…"}
    {"key": …, "type": "hash", "expires": null, "value": [[field, value], …]}
    …
    {"sha256": "…", "lines": 12345}

The last line has the hash of all before it, uncompressed; a file without it was cut off. A large
value has several lines. Keys, fields and values are text; a byte that is none stays what it is
(Python's `surrogateescape`).
"""

import errno
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

FORMAT: Final = 1
_MARK: Final = "laion_tracker_backup"
_LONGEST_LINE: Final = 600 * 2**20  #: Redis holds no longer string


class BrokenBackup(Exception):
    """The file is no whole backup; the message says why."""


class BackupWriter:
    """Lines go in; `end` makes the file a backup."""

    def __init__(self, file: Any, schema: str) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self.lines = 0
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._write({_MARK: FORMAT, "schema": schema, "made_at": now})

    def add(self, key: str, kind: str, expires: int | None, value: Any) -> None:
        """What a key holds, or a part of it."""
        self._write({"key": key, "type": kind, "expires": expires, "value": value})
        self.lines += 1

    def end(self) -> None:
        """Nothing more comes."""
        self._write({"sha256": self._sha256.hexdigest(), "lines": self.lines})

    def _write(self, row: dict[str, Any]) -> None:
        line = json.dumps(row, separators=(",", ":")).encode() + b"\n"
        self._sha256.update(line)
        self._file.write(line)


@contextmanager
def written(path: Path, schema: str, *, replace: bool = False) -> Iterator[BackupWriter]:
    """The file appears whole when this ends well, and not at all otherwise. Only this user may
    read it: it holds the hashes of all tokens.

    Raises:
        FileExistsError: it is there, and is not to be replaced.
        OSError: it cannot be written.
    """
    _refuse_existing(path, replace)
    temporary = path.with_name(f".{path.name}.part")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(handle, "wb") as raw:
            with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=3, filename="") as file:
                writer = BackupWriter(file, schema)
                yield writer
                writer.end()
            raw.flush()
            os.fsync(handle)
        _refuse_existing(path, replace)  # hours may have gone by
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)


def _refuse_existing(path: Path, replace: bool) -> None:
    if not replace and (path.exists() or path.is_symlink()):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def check(path: Path) -> dict[str, Any]:
    """The first line of a whole backup.

    Raises:
        BrokenBackup: it is none, was cut off, or was changed.
        OSError: it cannot be read.
    """
    sha256, lines, head = hashlib.sha256(), 0, None
    last: dict[str, Any] = {}
    try:
        with gzip.open(path, "rb") as file:
            before = b""
            while line := file.readline(_LONGEST_LINE):
                if before:
                    sha256.update(before)
                    lines += 1
                if head is None:
                    head = _object(line)
                    _check_head(head)
                before = line
            last = _object(before)
    except (gzip.BadGzipFile, EOFError, zlib.error, ValueError) as error:
        raise BrokenBackup("it is no backup of a tracker, or was cut off") from error
    if "sha256" not in last:
        raise BrokenBackup("it was cut off")
    if last["sha256"] != sha256.hexdigest() or last.get("lines") != lines - 1 or head is None:
        raise BrokenBackup("it was changed after it was written: the checksum does not fit")
    return head


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The lines between the first and the last; `check` the file before.

    Raises:
        OSError: it cannot be read.
    """
    with gzip.open(path, "rb") as file:
        file.readline(_LONGEST_LINE)
        while line := file.readline(_LONGEST_LINE):
            row = _object(line)
            if "key" in row:
                yield row


def _check_head(head: dict[str, Any]) -> None:
    if _MARK not in head:
        raise BrokenBackup("it is no backup of a tracker")
    if head[_MARK] != FORMAT:
        raise BrokenBackup(f"it has format {head[_MARK]!r}, and this tracker reads {FORMAT}")


def _object(line: bytes) -> dict[str, Any]:
    found = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError("a line is no object")
    return found
