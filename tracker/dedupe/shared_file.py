"""`SharedFile`: numbers in a file that several processes of one machine map, and `SharedLock`."""

import asyncio
import contextlib
import fcntl
import mmap
import os
import secrets
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tracker.incoming import sync_directory

#: The first page holds 64-bit numbers: what the file is, and what is counted about it.
HEADER: Final = 4096
_ZEROS: Final = bytes(2**20)
#: Seconds between two tries for a lock.
_TRIES: Final = 0.02


class BrokenFile(Exception):
    """The file is not what its name says; the message says what to do."""


class SharedFile:
    """A mapped file: `header`, 512 numbers of which the first is `magic`, then `size` bytes.

    What one process writes, all others see at once. A process that is killed loses nothing that
    it wrote; after a power cut, only what `sync` returned from is sure.

    Raises:
        FileNotFoundError: no such file.
        BrokenFile: it is another one, or was cut short.
    """

    def __init__(self, path: Path, magic: int) -> None:
        self._file = os.open(path, os.O_RDWR)
        try:
            self.size = os.fstat(self._file).st_size - HEADER
            if self.size < 0:
                raise _broken(path)
            self._map = mmap.mmap(self._file, 0)
        except BaseException:
            os.close(self._file)
            raise
        self.header: npt.NDArray[np.uint64] = np.frombuffer(self._map, "<u8", HEADER // 8)
        if int(self.header[0]) != magic:
            raise _broken(path)
        self._path = path

    def __del__(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            os.close(self._file)

    def array(self, kind: str, count: int, offset: int = 0) -> npt.NDArray[Any]:
        """`count` numbers of the body, from byte `offset` on; writing to them writes the file.

        Raises:
            BrokenFile: the file is too short for them.
        """
        if offset + count * np.dtype(kind).itemsize > self.size:
            raise _broken(self._path)
        return np.frombuffer(self._map, kind, count, HEADER + offset)

    def sync(self) -> None:
        """Return when all that was written is on disk. (On Linux and macOS a file and its
        mappings are one cache, and fsync writes both.)"""
        os.fsync(self._file)


def create(path: Path, header: Sequence[int], size: int) -> None:
    """Make a file of zeros after `header`, whole or not at all; takes the place of an older one.

    Raises:
        OSError: there is no room for all of it. (Later there is no telling: a mapped page that
            finds no room kills the process.)
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    file = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        _fill(file, HEADER + size)
        os.pwrite(file, np.array(header, "<u8").tobytes(), 0)
        os.fsync(file)
        temporary.rename(path)
        sync_directory(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)


def _fill(file: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
        return
    while size > 0:
        size -= os.write(file, _ZEROS[:size])


def _broken(path: Path) -> BrokenFile:
    return BrokenFile(
        f"{path} is broken; stop the tracker, delete {path.parent}, start it again, then run "
        "`python -m tracker dedupe rebuild`"
    )


class SharedLock:
    """Excludes the threads of this process and all other processes that lock the same file; the
    system lets go of a dead process's."""

    def __init__(self, path: Path) -> None:
        self._threads = threading.Lock()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def __del__(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            os.close(self._file)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Wait for it, and have it for the block."""
        with self._threads:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    @contextmanager
    def tried(self) -> Iterator[bool]:
        """Whether it was free; if so, have it for the block."""
        if not self._threads.acquire(blocking=False):
            yield False
            return
        try:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            try:
                yield True
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
        finally:
            self._threads.release()

    @asynccontextmanager
    async def waited(self, patience: float) -> AsyncIterator[bool]:
        """Whether it got free within so many seconds; if so, have it for the block. For tasks: one
        that is cancelled while it waits leaves nobody behind who takes the lock."""
        end = time.monotonic() + patience
        while True:
            with self.tried() as free:
                if free or time.monotonic() >= end:
                    yield free
                    return
            await asyncio.sleep(_TRIES)
