"""`ModelFiles`: files that recipes name by their SHA-256, such as model weights."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from laion_protocol import NotFound, TrackerError, Unavailable

from .incoming import make_directory, on_disk, received, sync_directory
from .shard_store import ShardStore

log = logging.getLogger(__name__)

#: The largest open CLIP models have about 10 GB of weights.
MAX_MODEL_BYTES: Final = 16 * 2**30
#: Seconds that a caller waits while a file comes from the store; then it is told to ask again.
_PATIENCE: Final = 15.0
_RETRY: Final = 15.0
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class ModelFiles:
    """A directory of files, each named by its hash, so that none ever changes. A store that
    several machines have keeps them too: one that lacks a file takes it from there."""

    def __init__(self, root: Path, store: ShardStore) -> None:
        self._store = store
        self._coming: dict[str, asyncio.Task[bool]] = {}
        self._files, self._incoming = root / "files", root / "incoming"
        for directory in (self._files, self._incoming):
            directory.mkdir(parents=True, exist_ok=True)

    async def put(self, sha256: str, body: AsyncIterator[bytes], size: int) -> None:
        """Keep `body` if it has that hash and size (bytes).

        Raises:
            UploadMismatch: it has not; nothing was kept.
            StorageFull: the disk has no room.
            Unavailable: the store does not answer; nothing was kept here.
        """
        await self._take(sha256, body, size, share=True)

    async def _take(
        self, sha256: str, body: AsyncIterator[bytes], size: int, *, share: bool
    ) -> None:
        target = self._path(sha256)
        async with received(
            self._incoming, body, name=sha256, size=size, sha256=sha256
        ) as temporary:

            def keep() -> None:
                make_directory(target.parent)
                temporary.replace(target)
                sync_directory(target.parent)

            if share:
                await self._store.share(sha256, temporary)
            await on_disk(keep)

    async def locate(self, sha256: str) -> Path:
        """The file.

        Raises:
            NotFound: nobody has put it.
            Unavailable: it is on its way from the store, or the store does not answer.
        """
        path = self._path(sha256)
        if not await asyncio.to_thread(path.is_file):
            await self._fetch(sha256)
        if not await asyncio.to_thread(path.is_file):
            raise NotFound(f"the tracker has no file with SHA-256 {sha256}; an admin must add it")
        return path

    async def _fetch(self, sha256: str) -> None:
        """Take it from the store, once for all who wait for it; nothing comes if it has none."""
        coming = self._coming.get(sha256)
        if coming is None:
            coming = self._coming[sha256] = asyncio.create_task(self._from_store(sha256))
            coming.add_done_callback(lambda _: self._coming.pop(sha256))
        await asyncio.wait({coming}, timeout=_PATIENCE)
        if not coming.done():
            raise Unavailable(
                "the tracker is taking this file from its store; ask again", retry_after=_RETRY
            )
        if not coming.result():
            raise Unavailable("the tracker cannot get this file now", retry_after=_RETRY)

    async def _from_store(self, sha256: str) -> bool:
        """Whether it is here now, or is nowhere."""
        try:
            found = await self._store.shared(sha256)
            if found is not None:
                size, body = found
                await self._take(sha256, body, size, share=False)
        except (TrackerError, OSError) as error:  # also: broken there, or removed meanwhile
            log.error("the file %s does not come from the store: %s", sha256, error)
            return False
        return True

    def _path(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise ValueError(f"{sha256!r} is not a SHA-256")
        return self._files / sha256
