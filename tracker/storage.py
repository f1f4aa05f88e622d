"""Where shards lie: `ShardStore`, and `LocalStore`, which is a directory.

A key is minted by the tracker, never by a worker: `<crawl>/<job>/<lease>/<file>`. A shard is
*open* while its files come in and *sealed* from the moment that it is checked: what was checked is
what is kept, whatever still arrives.
"""

import asyncio
import contextlib
import errno
import os
import random
import re
import secrets
import shutil
import threading
import time
from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

from laion_protocol import LeaseLost, Unavailable

from .incoming import check_writable, make_directory, on_disk, received, sweep, sync_directory

#: No part may start with a dot: neither `..` nor the store's own hidden files can be named.
_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}(/[A-Za-z0-9][A-Za-z0-9._-]{0,63}){0,3}")

#: What `describe` writes: beside the files that were handed in, and none of them.
_DESCRIPTION: Final = "manifest.json"
_TOO_LATE: Final = "this shard was handed in, or taken away, before the file was there"
#: Directories come and go by single calls; nobody loses that race so often.
_TRIES: Final = 20


class ShardStore(Protocol):
    """What the tracker asks of a store. `prefix` is a shard, `prefix/name` one of its files.

    Every method may raise `StorageFull`.
    """

    async def put(
        self, prefix: str, name: str, body: AsyncIterator[bytes], *, size: int, sha256: str
    ) -> None:
        """Keep `body` as a file of an open shard if it has that size and hash; else nothing.

        Raises:
            UploadMismatch: it has not.
            LeaseLost: the shard is sealed, or was removed while `body` came.
            Unavailable: other trackers keep changing the directories; send it again.
        """

    async def present(self, prefix: str, name: str, *, size: int, sha256: str) -> bool:
        """Whether an open shard has a file of this name, size and hash."""

    async def seal(self, prefix: str, names: Collection[str]) -> None:
        """From now on nothing in this shard changes, and it has no files but `names`; safe to
        repeat."""

    def checkout(self, prefix: str) -> AbstractAsyncContextManager[Path]:
        """A directory with the files of a sealed shard, to read from."""

    async def describe(self, prefix: str, text: str) -> None:
        """Keep `text` as `manifest.json` of a sealed shard."""

    async def remove(self, prefix: str) -> None:
        """Forget a shard, open and sealed; nothing there is fine."""

    async def sweep_open(self, older_than: float) -> int:
        """Remove open shards that got no file for so long (seconds); says how many."""

    async def free_bytes(self) -> int:
        """Room that is left, bytes."""

    async def sweep(self, older_than: float) -> int:
        """Remove what broken uploads left that is older than this (seconds); says how many."""

    async def check(self) -> None:
        """Raises `OSError` or `StorageFull` if nothing can be written."""


def shard_prefix(lease_id: str) -> str:
    """Where the files of one attempt lie: `<crawl>/<job, 8 digits>/<32 hex of the lease>`."""
    crawl, index, token = lease_id.split("~")
    return f"{crawl}/{int(index):08d}/{token}"


class LocalStore:
    """A directory: `uploads/` holds open shards, `shards/` sealed ones, `incoming/` what is just
    arriving. What `put` returned from is on disk (fsync), whole, under its final name."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._open, self._sealed, self._incoming = (
            root / name for name in ("uploads", "shards", "incoming")
        )
        self._commit = threading.Lock()
        for directory in (self._open, self._sealed, self._incoming):
            directory.mkdir(parents=True, exist_ok=True)

    async def put(
        self, prefix: str, name: str, body: AsyncIterator[bytes], *, size: int, sha256: str
    ) -> None:
        """Stream `body` to disk in bounded memory and rename it into place when it is whole."""
        target = self._open / _checked(f"{prefix}/{name}")
        # Now, and never again for this file: a directory that is gone when the file is whole was
        # sealed or removed meanwhile.
        await on_disk(lambda: self._begin(prefix))
        async with received(self._incoming, body, name=name, size=size, sha256=sha256) as temporary:
            await on_disk(lambda: self._keep(temporary, target, sha256))

    async def present(self, prefix: str, name: str, *, size: int, sha256: str) -> bool:
        """Told by the file's size and the hash noted beside it; nothing is read again."""
        target = self._open / _checked(f"{prefix}/{name}")

        def look() -> bool:
            try:
                return target.stat().st_size == size and _note(target).read_text() == sha256
            except FileNotFoundError:
                return False

        return await on_disk(look)

    async def seal(self, prefix: str, names: Collection[str]) -> None:
        """Rename the directory: an upload that is still coming in no longer finds it."""
        source, target = self._open / _checked(prefix), self._sealed / prefix
        kept = {*names, _DESCRIPTION}

        def move() -> None:
            if not target.is_dir():
                make_directory(target.parent)
                try:
                    source.rename(target)
                except FileNotFoundError:  # nothing was uploaded; the check will say so
                    target.mkdir(exist_ok=True)
                sync_directory(target.parent)
                self._tidy(source)
            # Also when the shard was sealed before: that tracker may have died here. The notes
            # go too: they were for `present`.
            for path in target.iterdir():
                if path.name not in kept:
                    path.unlink(missing_ok=True)
            sync_directory(target)

        await on_disk(move)

    @asynccontextmanager
    async def checkout(self, prefix: str) -> AsyncIterator[Path]:
        """The directory itself; nothing is copied."""
        yield self._sealed / _checked(prefix)

    async def describe(self, prefix: str, text: str) -> None:
        """Write the file whole or not at all."""
        target = self._sealed / _checked(prefix) / _DESCRIPTION

        def write() -> None:
            temporary = self._incoming / secrets.token_hex(16)
            temporary.write_text(text)
            temporary.replace(target)
            sync_directory(target.parent)

        await on_disk(write)

    async def remove(self, prefix: str) -> None:
        """Rename the directories out of sight, then delete: no half shard is ever seen."""
        paths = [area / _checked(prefix) for area in (self._open, self._sealed)]

        def away() -> None:
            for path in paths:
                grave = self._incoming / secrets.token_hex(16)
                try:
                    path.rename(grave)
                except FileNotFoundError:
                    continue
                shutil.rmtree(grave)
            self._tidy(paths[0])

        await on_disk(away)

    async def sweep_open(self, older_than: float) -> int:
        """Whoever comes back later is asked to upload again."""

        def look() -> list[str]:
            found, line = [], time.time() - older_than
            for path in self._open.glob("*/*/*"):
                with contextlib.suppress(FileNotFoundError):  # just sealed or removed
                    if path.stat().st_mtime < line:
                        found.append(str(path.relative_to(self._open)))
            return found

        old = await on_disk(look)
        for prefix in old:
            await self.remove(prefix)
        return len(old)

    async def free_bytes(self) -> int:
        """What the file system has left for this process."""
        return (await asyncio.to_thread(shutil.disk_usage, self._root)).free

    async def sweep(self, older_than: float) -> int:
        """Remove temporary files that no running upload can still be writing."""
        return await on_disk(lambda: sweep(self._incoming, older_than))

    async def check(self) -> None:
        """Make and remove a file."""
        await check_writable(self._incoming)

    def _begin(self, prefix: str) -> None:
        """The open shard has a directory, unless the shard is sealed."""
        path = self._open / prefix
        for _ in range(_TRIES):
            try:
                path.mkdir(parents=True, exist_ok=True)
                os.utime(path)  # in use: no sweep takes it
                break
            except (FileNotFoundError, FileExistsError):  # `_tidy` just took one of its parents
                time.sleep(random.uniform(0, 0.005))  # two that keep step would meet again
        else:
            raise Unavailable("the tracker's store is busy; send the file again", retry_after=1)
        # Looked at after the directory was made: one that `seal` renames from now on is missed
        # when the file is whole.
        if (self._sealed / prefix).is_dir():
            with contextlib.suppress(OSError):  # not there, or another upload's to remove
                path.rmdir()
            self._tidy(path)
            raise LeaseLost(_TOO_LATE)

    def _tidy(self, path: Path) -> None:
        """Remove the directories of job and crawl above an open shard if nothing is in them."""
        for parent in path.relative_to(self._open).parents[:-1]:
            try:
                (self._open / parent).rmdir()
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                    raise

    def _keep(self, temporary: Path, target: Path, sha256: str) -> None:
        with self._commit:  # file and note of one name must not interleave with another upload's
            note = temporary.with_suffix(".note")
            note.write_text(sha256)
            try:
                _note(target).unlink(missing_ok=True)
                temporary.replace(target)
                note.replace(_note(target))
                for parent in target.parents[:4]:  # up to `uploads`: they may all be new
                    sync_directory(parent)
            except FileNotFoundError as error:
                raise LeaseLost(_TOO_LATE) from error
            finally:
                note.unlink(missing_ok=True)


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is not a key of the store")
    return key


def _note(target: Path) -> Path:
    # Hidden, and no file of a shard starts with a dot: the two can never be confused.
    return target.with_name(f".{target.name}.sha256")
