"""`S3SharedFiles`: files that recipes name by their hash, for all machines with this bucket.

    files/<sha256>/<number>-<how many>   in pieces, each one a whole object

Model weights are larger than one request may be, and an upload that is cut off half-way leaves
nothing that cannot be seen: a piece that is missing.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from .incoming import on_disk
from .s3_objects import S3Objects

_PIECE: Final = 32 * 2**20


class S3SharedFiles:
    """Of one bucket. Every method may raise `Unavailable`."""

    def __init__(self, objects: S3Objects) -> None:
        self._objects = objects

    async def put(self, sha256: str, path: Path) -> None:
        """Keep the file at `path`; what an earlier try sent is not sent again."""
        size = (await on_disk(path.stat)).st_size
        there = {meta["path"] for meta in await self._objects.under(f"files/{sha256}/")}
        count = max(1, -(-size // _PIECE))
        for number in range(count):
            key = f"files/{sha256}/{number:05}-{count:05}"
            if key not in there:
                piece = await on_disk(lambda start=number * _PIECE: _read(path, start))  # type: ignore[misc]
                await self._objects.put(key, piece)

    async def get(self, sha256: str) -> tuple[int, AsyncIterator[bytes]] | None:
        """Size and content; None if it is not there, or not whole."""
        found = await self._objects.under(f"files/{sha256}/")
        if not found or len(found) != int(found[-1]["path"].rpartition("-")[2]):
            return None

        async def pieces() -> AsyncIterator[bytes]:
            for meta in found:
                async for piece in self._objects.read(meta["path"]):
                    yield piece

        return sum(meta["size"] for meta in found), pieces()


def _read(path: Path, start: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(_PIECE)
