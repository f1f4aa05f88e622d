"""`ModelFiles`: files that recipes name by their SHA-256, such as model weights."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from laion_protocol import NotFound

from .incoming import make_directory, on_disk, received, sync_directory

#: The largest open CLIP models have about 10 GB of weights.
MAX_MODEL_BYTES: Final = 16 * 2**30
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class ModelFiles:
    """A directory of files, each named by its hash, so that none ever changes."""

    def __init__(self, root: Path) -> None:
        self._files, self._incoming = root / "files", root / "incoming"
        for directory in (self._files, self._incoming):
            directory.mkdir(parents=True, exist_ok=True)

    async def put(self, sha256: str, body: AsyncIterator[bytes], size: int) -> None:
        """Keep `body` if it has that hash and size (bytes).

        Raises:
            UploadMismatch: it has not; nothing was kept.
            StorageFull: the disk has no room.
        """
        target = self._path(sha256)
        async with received(
            self._incoming, body, name=sha256, size=size, sha256=sha256
        ) as temporary:

            def keep() -> None:
                make_directory(target.parent)
                temporary.replace(target)
                sync_directory(target.parent)

            await on_disk(keep)

    async def locate(self, sha256: str) -> Path:
        """The file.

        Raises:
            NotFound: nobody has put it.
        """
        path = self._path(sha256)
        if not await asyncio.to_thread(path.is_file):
            raise NotFound(f"the tracker has no file with SHA-256 {sha256}; an admin must add it")
        return path

    def _path(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise ValueError(f"{sha256!r} is not a SHA-256")
        return self._files / sha256
