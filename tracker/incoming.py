"""`received`: a stranger's upload as a whole, checked file on disk, or nothing at all."""

import asyncio
import errno
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

from laion_protocol import StorageFull, UploadMismatch

_T = TypeVar("_T")

#: Written to disk and hashed at once: large enough that a thread hop costs nothing beside it.
_PIECE: Final = 2**20
#: Seconds after which a worker asks again when the disk was full.
_FULL_RETRY: Final = 1800.0
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


@asynccontextmanager
async def received(
    directory: Path, body: AsyncIterator[bytes], *, name: str, size: int, sha256: str
) -> AsyncIterator[Path]:
    """A temporary file in `directory` with all of `body`, synced; rename it to keep it.

    Streams in bounded memory. What is not renamed is removed, also when the line breaks.

    Raises:
        UploadMismatch: `body` does not have that size (bytes) or SHA-256.
        StorageFull: the disk has no room.
    """
    incoming = await on_disk(lambda: _Incoming(directory))
    try:
        await _take(incoming, body, name, size)
        if incoming.sha256() != sha256:
            raise UploadMismatch(
                f"{name}: the SHA-256 of what came is {incoming.sha256()}, not the announced "
                f"{sha256}; send it again"
            )
        await on_disk(incoming.sync)
        yield incoming.path
    finally:
        await asyncio.shield(asyncio.to_thread(incoming.discard))


async def _take(incoming: "_Incoming", body: AsyncIterator[bytes], name: str, size: int) -> None:
    waiting, arrived = bytearray(), 0
    async for piece in body:
        arrived += len(piece)
        if arrived > size:
            raise UploadMismatch(
                f"{name}: more than the announced {size} bytes came; announce the file's true "
                "size and send it again"
            )
        waiting += piece
        if len(waiting) >= _PIECE:
            whole, waiting = bytes(waiting), bytearray()
            await on_disk(lambda data=whole: incoming.write(data))  # type: ignore[misc]
    await on_disk(lambda: incoming.write(bytes(waiting)))
    if arrived != size:
        raise UploadMismatch(f"{name}: {arrived} bytes came, {size} were announced; send it again")


class _Incoming:
    """A temporary file that is written, hashed, and then renamed or discarded."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / secrets.token_hex(16)
        self._file = self.path.open("xb", buffering=0)
        self._digest = hashlib.sha256()

    def write(self, data: bytes) -> None:
        self._digest.update(data)
        view = memoryview(data)
        while view:  # an unbuffered write may take a part of what it is given
            view = view[self._file.write(view) :]

    def sha256(self) -> str:
        return self._digest.hexdigest()

    def sync(self) -> None:
        os.fsync(self._file.fileno())

    def discard(self) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)


async def on_disk(work: Callable[[], _T]) -> _T:
    """Run `work` in a thread; a full disk raises `StorageFull`, other `OSError`s pass."""
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(
                "the tracker's disk is full; keep the file and send it again later",
                retry_after=_FULL_RETRY,
            ) from error
        raise


async def check_writable(directory: Path) -> None:
    """Make and remove a small file; raises `StorageFull` or `OSError` if that fails."""

    def attempt() -> None:
        probe = _Incoming(directory)
        try:
            probe.write(b"?")
        finally:
            probe.discard()

    await on_disk(attempt)


def sweep(directory: Path, older_than: float) -> int:
    """Remove what a killed tracker left in `directory` and is older (seconds); how many."""
    removed, line = 0, time.time() - older_than
    for path in directory.iterdir():
        try:
            if path.lstat().st_mtime < line:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                removed += 1
        except FileNotFoundError:  # another tracker on this store was faster
            continue
    return removed


def make_directory(path: Path) -> None:
    """Make `path` and what is missing above it, each on disk under its name."""
    if not path.is_dir():
        make_directory(path.parent)
        path.mkdir(exist_ok=True)
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """A new name survives a power cut only once its directory is on disk too."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
