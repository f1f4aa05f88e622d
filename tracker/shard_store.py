"""`ShardStore`: what the tracker asks of the place where shards lie, whatever that place is.

A key is minted by the tracker, never by a worker: `<crawl>/<job>/<lease>/<file>`. A shard is
*open* while its files come in and *sealed* from the moment that it is checked: what was checked is
what is kept, whatever still arrives.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from laion_protocol import FileEntry

#: No part may start with a dot: neither `..` nor the store's own hidden files can be named.
_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}(/[A-Za-z0-9][A-Za-z0-9._-]{0,63}){0,3}")
_PREFIX: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63})/([0-9]{8,})/([0-9a-f]{32})")

#: What `describe` writes: beside the files that were handed in, and none of them.
DESCRIPTION: Final = "manifest.json"
#: Files of one shard that are looked for at once.
_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a worker may send one file itself, for a while: `PUT url` with `headers`. Neither
    another size nor another content is good there."""

    url: str = field(repr=False)  #: whoever has it may use it
    headers: dict[str, str]


class ShardStore(Protocol):
    """What the tracker asks of a store. `prefix` is a shard, `prefix/name` one of its files.

    Every method may raise `StorageFull`, or `Unavailable` when the store does not answer.
    """

    def slot(self, prefix: str, file: FileEntry) -> Slot | None:
        """Where a worker sends a file of an open shard without the tracker; None: it cannot."""

    def link(self, prefix: str, name: str) -> str | None:
        """Where a worker reads a file of a sealed shard without the tracker, for a while; None:
        it cannot."""

    async def put(
        self, prefix: str, name: str, body: AsyncIterator[bytes], *, size: int, sha256: str
    ) -> None:
        """Keep `body` as a file of an open shard if it has that size and hash; else nothing.

        Raises:
            UploadMismatch: it has not.
            LeaseLost: the shard is sealed, or was removed while `body` came. A store that cannot
                tell takes the file, and nothing comes of it.
            Unavailable: other trackers keep changing the directories; send it again.
        """

    async def present(self, prefix: str, name: str, *, size: int, sha256: str) -> bool:
        """Whether an open shard has a file of this name, size and hash."""

    async def seal(self, prefix: str, files: Collection[FileEntry]) -> None:
        """From now on nothing in this shard changes, and it has no files but `files`; safe to
        repeat. A file that is not there is left to the check of the shard to find."""

    def checkout(self, prefix: str) -> AbstractAsyncContextManager[Path]:
        """A directory with the files of a sealed shard, to read from."""

    def read(self, prefix: str, name: str) -> AsyncIterator[bytes]:
        """A file of a sealed shard, piece by piece.

        Raises:
            FileNotFoundError: at the first piece: there is no such file.
        """

    async def describe(self, prefix: str, text: str) -> None:
        """Keep `text` as `manifest.json` of a sealed shard."""

    async def remove(self, prefix: str) -> None:
        """Forget a shard, open and sealed; nothing there is fine."""

    def sealed(self, older_than: float) -> AsyncIterator[str]:
        """Every sealed shard in which nothing changed for so long (seconds). It may be left half
        way for hours and gone on with: what came or went meanwhile may be in it or not."""

    async def sweep_open(
        self, older_than: float, waits: Callable[[str], Awaitable[bool]] | None = None
    ) -> int:
        """Remove open shards that got no file for so long (seconds), but those of which `waits`
        says that they were handed in and wait to be sealed; says how many."""

    async def free_bytes(self) -> int:
        """Room that is left, bytes."""

    async def sweep(self, older_than: float) -> int:
        """Remove what broken uploads left that is older than this (seconds); says how many."""

    async def check(self) -> None:
        """Raises `OSError`, `StorageFull` or `Unavailable` if nothing can be written."""

    async def once(self, name: str, new: str) -> str:
        """A word that this store keeps for ever under a name: `new`, if it had none before.

        Raises:
            OSError, UnicodeDecodeError: it can neither be read nor written.
        """

    async def share(self, sha256: str, path: Path) -> None:
        """Give a file that recipes name by its hash to all machines with this store."""

    async def shared(self, sha256: str) -> tuple[int, AsyncIterator[bytes]] | None:
        """Size and content of such a file, as it was given; None if it was not."""


async def missing(
    store: ShardStore, prefix: str, files: Collection[FileEntry]
) -> tuple[FileEntry, ...]:
    """Those of `files` that have not arrived in an open shard."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def lacks(file: FileEntry) -> bool:
        async with room:
            return not await store.present(prefix, file.name, size=file.size, sha256=file.sha256)

    lacking = await asyncio.gather(*map(lacks, files))
    return tuple(file for file, lacks in zip(files, lacking, strict=True) if lacks)


def shard_prefix(lease_id: str) -> str:
    """Where the files of one attempt lie: `<crawl>/<job, 8 digits>/<32 hex of the lease>`."""
    crawl, index, token = lease_id.split("~")
    return f"{crawl}/{int(index):08d}/{token}"


def lease_of(prefix: str) -> str | None:
    """The lease whose shard lies there; None for what is no shard."""
    found = _PREFIX.fullmatch(prefix)
    return f"{found[1]}~{int(found[2])}~{found[3]}" if found else None


def checked(key: str) -> str:
    """`key` itself; raises `ValueError` unless it names something inside the store."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is not a key of the store")
    return key
