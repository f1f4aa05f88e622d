"""What a score stage reads: the files of the intermediate that a fetch stage handed in; and what
becomes of a job whose intermediate is lost."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from laion_protocol import LeaseLost, NotFound, StorageFull, Unavailable
from laion_protocol.messages import InputFile

from .queue import Fetched, HeldLease, JobQueue
from .shard_store import ShardStore, shard_prefix

#: Seconds. A store that does not answer by then is away.
_PATIENCE: Final = 10.0


def inputs_of(held: HeldLease, store: ShardStore) -> tuple[InputFile, ...]:
    """The files, and where the holder of this lease reads them; none but for a score stage."""
    if held.fetched is None:
        return ()
    prefix = shard_prefix(held.fetched.lease_id)
    return tuple(
        InputFile(
            name=file.name,
            size=file.size,
            sha256=file.sha256,
            url=store.link(prefix, file.name) or f"/v1/leases/{held.lease_id}/inputs/{file.name}",
        )
        for file in held.fetched.manifest.files
    )


async def read_input(
    held: HeldLease, name: str, store: ShardStore
) -> tuple[int, AsyncIterator[bytes]]:
    """The size of one of those files, and the file piece by piece.

    Raises:
        NotFound: there is none of that name.
    """
    sizes = {file.name: file.size for file in held.fetched.manifest.files} if held.fetched else {}
    if held.fetched is None or name not in sizes:
        raise NotFound(f"{name}: this lease has no such input")
    pieces = store.read(shard_prefix(held.fetched.lease_id), name)
    try:
        first = await anext(pieces, b"")
    except FileNotFoundError as error:
        raise NotFound(f"{name}: the tracker has lost this file; fail the job") from error

    async def all_of_it() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    return sizes[name], all_of_it()


async def lost_intermediate(
    lease_id: str, account: str, queue: JobQueue, store: ShardStore
) -> Fetched | None:
    """The intermediate that this lease is to score, if the store says that it has not all of it.

    Raises:
        NotFound: this account has no such lease.
    """
    try:
        held = await queue.open_lease(lease_id, account)
    except LeaseLost:
        return None
    if held.fetched is None:
        return None
    try:
        async with asyncio.timeout(_PATIENCE):
            return None if await _is_whole(held.fetched, store) else held.fetched
    except (OSError, StorageFull, Unavailable):  # away, or slow, so nobody knows
        return None


async def _is_whole(fetched: Fetched, store: ShardStore) -> bool:
    for file in fetched.manifest.files:
        try:
            await anext(store.read(shard_prefix(fetched.lease_id), file.name), b"")
        except FileNotFoundError:
            return False
    return True
