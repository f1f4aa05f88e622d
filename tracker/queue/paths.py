"""A crawl's path list, in compressed blocks.

A crawl has about 100,000 paths of 140 characters that differ little: a block of 1,000 takes
some KB, is read at once, and stays in a small cache. Blocks are base64, so that one Redis client
that decodes its answers serves all of the tracker.
"""

import base64
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Final

from redis.asyncio import Redis

from laion_protocol import InvalidRequest, NotFound

from . import keys

BLOCK: Final = 1_000  #: paths


def check_paths(paths: Sequence[str]) -> None:
    """Refuse what cannot be a path.

    Raises:
        InvalidRequest: one has a control character (blocks separate paths by newlines).
    """
    for number, path in enumerate(paths):
        if not path.isprintable():
            raise InvalidRequest(
                f"path {number} has a control character; remove it: {path[:100]!r}"
            )


def pack(paths: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Each block's number and text."""
    for number, start in enumerate(range(0, len(paths), BLOCK)):
        text = "\n".join(paths[start : start + BLOCK])
        yield number, base64.b64encode(zlib.compress(text.encode())).decode()


def unpack(block: str) -> tuple[str, ...]:
    """The paths of a block that `pack` made."""
    return tuple(zlib.decompress(base64.b64decode(block)).decode().split("\n"))


class PathCache:
    """Reads single paths; keeps the last blocks used."""

    def __init__(self, redis: Redis, *, blocks: int = 64) -> None:
        """Keep at most `blocks` blocks of 1,000 paths, of all crawls together (some 15 MB)."""
        self._redis = redis
        self._size = blocks
        self._blocks: OrderedDict[tuple[str, int], tuple[str, ...]] = OrderedDict()

    async def path(self, crawl: str, file_index: int) -> str:
        """One path of the crawl's list.

        Raises:
            NotFound: the list is shorter, or there is no such crawl.
        """
        number, offset = divmod(file_index, BLOCK)
        block = await self._block(crawl, number)
        if block is None or not 0 <= offset < len(block):
            raise NotFound(f"crawl {crawl!r} has no file number {file_index}")
        return block[offset]

    def forget(self, crawl: str) -> None:
        """Read this crawl's list anew when it is asked for."""
        for key in [key for key in self._blocks if key[0] == crawl]:
            del self._blocks[key]

    async def _block(self, crawl: str, number: int) -> tuple[str, ...] | None:
        block = self._blocks.get((crawl, number))
        if block is None:
            packed = await self._redis.hget(keys.paths(crawl), str(number))
            if packed is None:
                return None
            block = unpack(str(packed))
        self._blocks[crawl, number] = block
        self._blocks.move_to_end((crawl, number))
        while len(self._blocks) > self._size:
            self._blocks.popitem(last=False)
        return block
