"""`S3Store`: shards in a bucket of an S3 service. Workers send their files there themselves.

    uploads/<crawl>/<job>/<lease>/<file>   open: workers send it here, by signed URLs
    shards/<crawl>/<job>/<lease>/<file>    sealed: no URL to write here is ever signed
    files/…                                model files, see `S3SharedFiles`

An upload is bound to size and SHA-256 by its signature. Whether the service holds to that is tried
once (`S3Binding`); where it does not, each file is read again before it counts. In any case the
check of a shard reads what lies under `shards/`, which nobody's URL can change.
"""

import asyncio
import contextlib
import hashlib
import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from botocore.credentials import Credentials

from laion_protocol import FileEntry, Unavailable
from laion_protocol.shard_format import MAX_FILES

from .incoming import check_writable, on_disk, received, sweep
from .quota import Quota
from .s3_binding import S3Binding
from .s3_objects import S3Objects
from .s3_shared_files import S3SharedFiles
from .s3_signer import S3Place, S3Signer
from .shard_store import DESCRIPTION, Slot, checked

if TYPE_CHECKING:
    from obstore import ObjectMeta

#: A worker on a slow line sends its first files for hours, and asks for new URLs for the rest.
_SLOT_LIFETIME: Final = timedelta(hours=1)
_LINK_LIFETIME: Final = timedelta(hours=6)
#: Files that are copied or read at once, for one shard.
_AT_ONCE: Final = 8
#: For all files of one shard; each request has bounds of its own besides, see `S3Objects`.
_SHARD_SECONDS: Final = 600.0
#: Hashes of files that were read again; a file that did not change is not read twice.
_REMEMBERED: Final = 10_000


class S3Store:
    """A bucket, or a part of one.

    Args:
        place: where.
        credentials: the tracker's; no worker ever sees them.
        scratch: a directory of this machine, for what is just being checked.
        quota: bytes that may lie there in all; 0 sets no bound.
    """

    def __init__(
        self, place: S3Place, credentials: Credentials, scratch: Path, *, quota: int = 0
    ) -> None:
        self._place = place
        self._scratch = scratch
        self._quota = Quota(quota, self._count)
        self._objects = S3Objects(place, credentials)
        self._files = S3SharedFiles(self._objects)
        self._signer = S3Signer(place, credentials)
        self._binding = S3Binding(self._signer)
        self._hashes: dict[tuple[str, str], str] = {}
        scratch.mkdir(parents=True, exist_ok=True)

    def __str__(self) -> str:
        return str(self._place)

    # ── an open shard ────────────────────────────────────────────────────────────────────────────

    def slot(self, prefix: str, file: FileEntry) -> Slot | None:
        """A presigned PUT of one key, bound to size and SHA-256."""
        key = _open_key(prefix, file.name)
        return self._signer.put(key, size=file.size, sha256=file.sha256, lifetime=_SLOT_LIFETIME)

    def link(self, prefix: str, name: str) -> str | None:
        """A presigned GET."""
        return self._signer.get(_sealed_key(prefix, name), lifetime=_LINK_LIFETIME)

    async def put(
        self, prefix: str, name: str, body: AsyncIterator[bytes], *, size: int, sha256: str
    ) -> None:
        """For a worker that cannot reach the bucket: through this machine's disk, whole or not
        at all. In one request, so that no half upload is ever left in the bucket."""
        key = _open_key(prefix, name)
        async with received(self._scratch, body, name=name, size=size, sha256=sha256) as path:
            await self._objects.put(key, path, sha256)

    async def present(self, prefix: str, name: str, *, size: int, sha256: str) -> bool:
        """Told by size and hash as the service has them; where it takes any upload, by the
        content."""
        key = _open_key(prefix, name)
        found = await self._objects.head(key)
        if found is None or found[0]["size"] != size:
            return False
        meta, note = found
        if note is not None and await self._binding.holds():
            return note == sha256
        return await self._hash(key, meta) == sha256

    async def seal(self, prefix: str, files: Collection[FileEntry]) -> None:
        """Copy the files, inside the service, to where no URL of a worker leads."""
        async with _bounded():
            await self._seal(prefix, files)

    async def _seal(self, prefix: str, files: Collection[FileEntry]) -> None:
        target = f"shards/{checked(prefix)}/"
        there = {_name(meta) for meta in await self._objects.under(target)}
        room = asyncio.Semaphore(_AT_ONCE)

        async def copy(file: FileEntry) -> None:
            source = _open_key(prefix, file.name)
            async with room:
                with contextlib.suppress(FileNotFoundError):  # the check of the shard will say so
                    await self._objects.copy(source, _sealed_key(prefix, file.name))

        # What an earlier seal copied stays: it may have been checked.
        await asyncio.gather(*(copy(file) for file in files if file.name not in there))
        sizes = {file.name: file.size for file in files}
        wrong = [
            meta["path"]
            for meta in await self._objects.under(target)
            if meta["size"] != sizes.get(_name(meta)) and _name(meta) != DESCRIPTION
        ]
        await self._objects.delete(wrong)
        await self._objects.delete(
            [meta["path"] for meta in await self._objects.under(f"uploads/{prefix}/")]
        )

    async def remove(self, prefix: str) -> None:
        """A worker's URL may still bring a file back; `sweep_open` finds it."""
        for area in ("uploads", "shards"):
            found = await self._objects.under(f"{area}/{checked(prefix)}/")
            await self._objects.delete([meta["path"] for meta in found])

    # ── a sealed shard ───────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def checkout(self, prefix: str) -> AsyncIterator[Path]:
        """A copy on this machine's disk, for as long as it is looked at. `seal` saw to the sizes:
        a shard has no file that is not of its manifest."""
        directory = self._scratch / secrets.token_hex(16)
        room = asyncio.Semaphore(_AT_ONCE)

        async def fetch(name: str) -> None:
            async with room:
                file = await on_disk(lambda: (directory / name).open("xb"))
                try:
                    async for piece in self.read(prefix, name):
                        await on_disk(lambda data=piece: file.write(data))  # type: ignore[misc]
                finally:
                    file.close()

        await on_disk(directory.mkdir)
        try:
            async with _bounded():
                found = (await self._objects.under(f"shards/{checked(prefix)}/"))[: MAX_FILES + 1]
                await asyncio.gather(*(fetch(_name(meta)) for meta in found))
            yield directory
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True))

    async def read(self, prefix: str, name: str) -> AsyncIterator[bytes]:
        """As it comes from the service."""
        async for piece in self._objects.read(_sealed_key(prefix, name)):
            yield piece

    async def describe(self, prefix: str, text: str) -> None:
        """One request, whole or not at all."""
        await self._objects.put(_sealed_key(prefix, DESCRIPTION), text.encode())

    async def sealed(self, older_than: float) -> AsyncIterator[str]:
        """In the order of the keys."""
        line = datetime.now(UTC) - timedelta(seconds=older_than)
        current, newest = "", line
        async for meta in self._objects.every("shards/"):
            prefix = _shard(meta)
            if prefix != current:
                if current and newest < line:
                    yield current
                current, newest = prefix, meta["last_modified"]
            newest = max(newest, meta["last_modified"])
        if current and newest < line:
            yield current

    # ── the whole store ──────────────────────────────────────────────────────────────────────────

    async def sweep_open(
        self, older_than: float, waits: Callable[[str], Awaitable[bool]] | None = None
    ) -> int:
        """Only what is open: a file may have come after its shard was sealed."""
        line = datetime.now(UTC) - timedelta(seconds=older_than)
        newest: dict[str, datetime] = {}
        async for meta in self._objects.every("uploads/"):
            prefix = _shard(meta)
            newest[prefix] = max(newest.get(prefix, meta["last_modified"]), meta["last_modified"])
        old = [
            prefix
            for prefix, changed in newest.items()
            if changed < line and (waits is None or not await waits(prefix))
        ]
        for prefix in old:
            found = await self._objects.under(f"uploads/{prefix}/")
            await self._objects.delete([meta["path"] for meta in found])
        return len(old)

    async def free_bytes(self) -> int:
        """What the quota leaves, or this machine's disk: on it lies what is being checked."""
        disk = (await asyncio.to_thread(shutil.disk_usage, self._scratch)).free
        left = await self._quota.left()
        return disk if left is None else min(disk, left)

    async def sweep(self, older_than: float) -> int:
        """Copies whose tracker was killed while it checked them."""
        return await on_disk(lambda: sweep(self._scratch, older_than))

    async def check(self) -> None:
        """Write one small object, always the same."""
        await check_writable(self._scratch)
        await self._objects.put("writable", b"?")

    async def once(self, name: str, new: str) -> str:
        """An object of the bucket; it is looked for first, since not every service can keep a
        second writer off."""
        for _ in range(2):
            with contextlib.suppress(FileNotFoundError):
                return b"".join([piece async for piece in self._objects.read(name)]).decode()
            await self._objects.put_first(name, new.encode())
        return new

    async def share(self, sha256: str, path: Path) -> None:
        """In pieces, so that a try that was cut off is gone on with."""
        await self._files.put(sha256, path)

    async def shared(self, sha256: str) -> tuple[int, AsyncIterator[bytes]] | None:
        """From its pieces."""
        return await self._files.get(sha256)

    async def _hash(self, key: str, meta: "ObjectMeta") -> str:
        version = (key, f"{meta['e_tag']} {meta['last_modified']}")
        known = self._hashes.get(version)
        if known is None:
            digest = hashlib.sha256()
            async for piece in self._objects.read(key):
                await asyncio.to_thread(digest.update, piece)
            known = self._hashes[version] = digest.hexdigest()
            if len(self._hashes) > _REMEMBERED:
                del self._hashes[next(iter(self._hashes))]
        return known

    async def _count(self) -> int:
        return sum([meta["size"] async for meta in self._objects.every("")])


@asynccontextmanager
async def _bounded() -> AsyncIterator[None]:
    """Work on one shard ends in bounded time: its verifier has other ones to check."""
    try:
        async with asyncio.timeout(_SHARD_SECONDS):
            yield
    except TimeoutError as error:
        raise Unavailable(
            f"the tracker's store took over {_SHARD_SECONDS:.0f} s for one shard", retry_after=60
        ) from error


def _open_key(prefix: str, name: str) -> str:
    return "uploads/" + checked(f"{prefix}/{name}")


def _sealed_key(prefix: str, name: str) -> str:
    return "shards/" + checked(f"{prefix}/{name}")


def _name(meta: "ObjectMeta") -> str:
    return meta["path"].rpartition("/")[2]


def _shard(meta: "ObjectMeta") -> str:
    """The shard that an object belongs to: three parts after its area."""
    return "/".join(meta["path"].split("/")[1:4])
