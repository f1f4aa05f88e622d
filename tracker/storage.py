"""`LocalStore`: shards in a directory of this machine."""

import asyncio
import contextlib
import errno
import itertools
import os
import random
import secrets
import shutil
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from laion_protocol import FileEntry, LeaseLost, Unavailable

from .incoming import check_writable, make_directory, on_disk, received, sweep, sync_directory
from .place import kept_once
from .quota import Quota
from .shard_store import DESCRIPTION, ShardStore, Slot, checked, lease_of, shard_prefix

__all__ = ["LocalStore", "ShardStore", "lease_of", "shard_prefix"]

_TOO_LATE: Final = "this shard was handed in, or taken away, before the file was there"
#: Directories come and go by single calls; nobody loses that race so often.
_TRIES: Final = 20
_PIECE: Final = 2**20
#: Sealed shards that are looked at in one go, in a thread.
_LOOKED_AT: Final = 200


class LocalStore:
    """A directory: `uploads/` holds open shards, `shards/` sealed ones, `incoming/` what is just
    arriving. What `put` returned from is on disk (fsync), whole, under its final name."""

    def __init__(self, root: Path, *, quota: int = 0) -> None:
        """Use `root`; its shards may have `quota` bytes in all, 0 sets no bound."""
        self._root = root
        self._quota = Quota(quota, self._count)
        self._open, self._sealed, self._incoming = (
            root / name for name in ("uploads", "shards", "incoming")
        )
        self._commit = threading.Lock()
        for directory in (self._open, self._sealed, self._incoming):
            directory.mkdir(parents=True, exist_ok=True)

    def __str__(self) -> str:
        return str(self._root)

    def slot(self, prefix: str, file: FileEntry) -> Slot | None:
        """None: files come through the tracker."""
        return None

    def link(self, prefix: str, name: str) -> str | None:
        """None: files go through the tracker."""
        return None

    async def put(
        self, prefix: str, name: str, body: AsyncIterator[bytes], *, size: int, sha256: str
    ) -> None:
        """Stream `body` to disk in bounded memory and rename it into place when it is whole."""
        target = self._open / checked(f"{prefix}/{name}")
        # Now, and never again for this file: a directory that is gone when the file is whole was
        # sealed or removed meanwhile.
        await on_disk(lambda: self._begin(prefix))
        async with received(self._incoming, body, name=name, size=size, sha256=sha256) as temporary:
            await on_disk(lambda: self._keep(temporary, target, sha256))

    async def present(self, prefix: str, name: str, *, size: int, sha256: str) -> bool:
        """Told by the file's size and the hash noted beside it; nothing is read again."""
        target = self._open / checked(f"{prefix}/{name}")

        def look() -> bool:
            try:
                return target.stat().st_size == size and _note(target).read_text() == sha256
            except FileNotFoundError:
                return False

        return await on_disk(look)

    async def seal(self, prefix: str, files: Collection[FileEntry]) -> None:
        """Rename the directory: an upload that is still coming in no longer finds it."""
        source, target = self._open / checked(prefix), self._sealed / prefix
        kept = {*(file.name for file in files), DESCRIPTION}

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
        yield self._sealed / checked(prefix)

    async def read(self, prefix: str, name: str) -> AsyncIterator[bytes]:
        """Straight from disk, in bounded memory."""
        path = self._sealed / checked(f"{prefix}/{name}")
        file = await on_disk(lambda: path.open("rb"))
        try:
            while piece := await on_disk(lambda: file.read(_PIECE)):
                yield piece
        finally:
            file.close()

    async def describe(self, prefix: str, text: str) -> None:
        """Write the file whole or not at all."""
        target = self._sealed / checked(prefix) / DESCRIPTION

        def write() -> None:
            temporary = self._incoming / secrets.token_hex(16)
            temporary.write_text(text)
            temporary.replace(target)
            sync_directory(target.parent)

        await on_disk(write)

    async def remove(self, prefix: str) -> None:
        """Rename the directories out of sight, then delete: no half shard is ever seen."""
        paths = [area / checked(prefix) for area in (self._open, self._sealed)]

        def away() -> None:
            for path in paths:
                self._away(path)

        await on_disk(away)

    async def sealed(self, older_than: float) -> AsyncIterator[str]:
        """Told by the directories' times; in the order in which the file system has them."""

        walk = _shards(self._sealed)

        def look() -> list[tuple[str, float]]:
            some = itertools.islice(walk, _LOOKED_AT)
            return [(str(path.relative_to(self._sealed)), _age(path)) for path in some]

        while found := await on_disk(look):
            for prefix, age in found:
                if age > older_than:
                    yield prefix

    async def sweep_open(
        self, older_than: float, waits: Callable[[str], Awaitable[bool]] | None = None
    ) -> int:
        """Whoever comes back later is asked to upload again."""

        def look() -> list[str]:
            return [
                str(path.relative_to(self._open))
                for path in _shards(self._open)
                if _age(path) > older_than
            ]

        old = [prefix for prefix in await on_disk(look) if waits is None or not await waits(prefix)]
        for prefix in old:
            # Only what is open: a late upload that was killed leaves a directory beside a sealed
            # shard.
            await on_disk(lambda path=self._open / prefix: self._away(path))  # type: ignore[misc]
        return len(old)

    async def free_bytes(self) -> int:
        """What the file system has left for this process, or the quota if that is less."""
        disk = (await asyncio.to_thread(shutil.disk_usage, self._root)).free
        left = await self._quota.left()
        return disk if left is None else min(disk, left)

    async def sweep(self, older_than: float) -> int:
        """Remove temporary files that no running upload can still be writing."""
        return await on_disk(lambda: sweep(self._incoming, older_than))

    async def check(self) -> None:
        """Make and remove a file."""
        await check_writable(self._incoming)

    async def once(self, name: str, new: str) -> str:
        """A file of the directory."""
        return await asyncio.to_thread(kept_once, self._root / name, new)

    async def share(self, sha256: str, path: Path) -> None:
        """Nothing: who has this directory has its model files too."""

    async def shared(self, sha256: str) -> None:
        """None, for the same reason."""

    async def _count(self) -> int:
        walk = itertools.chain(_shards(self._open), _shards(self._sealed))

        def look() -> list[int]:
            some = itertools.islice(walk, _LOOKED_AT)
            return [sum(map(_size, _inside(shard))) for shard in some]

        total = 0
        while found := await on_disk(look):
            total += sum(found)
        return total

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

    def _away(self, path: Path) -> None:
        grave = self._incoming / secrets.token_hex(16)
        with contextlib.suppress(FileNotFoundError):
            path.rename(grave)
            shutil.rmtree(grave)
        if path.is_relative_to(self._open):
            self._tidy(path)

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


def _note(target: Path) -> Path:
    # Hidden, and no file of a shard starts with a dot: the two can never be confused.
    return target.with_name(f".{target.name}.sha256")


def _shards(area: Path) -> Iterator[Path]:
    """The directories of all shards, one at a time: a crawl has millions. What comes or goes
    meanwhile may be missed."""
    for crawl in _inside(area):
        for job in _inside(crawl):
            yield from _inside(job)


def _inside(directory: Path) -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(directory) as found:
        for entry in found:
            yield Path(entry.path)


def _size(path: Path) -> int:
    """0 for what is gone."""
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _age(path: Path) -> float:
    """Seconds since a file came into it or went; 0 for what is gone."""
    with contextlib.suppress(FileNotFoundError):
        return time.time() - path.stat().st_mtime
    return 0.0
