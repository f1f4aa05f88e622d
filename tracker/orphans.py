"""`Orphans`: sealed shards that nobody keeps, found a slice at a time.

A tracker that dies between a verdict and the removal leaves one; so does whoever rejects a shard
while the store is away.
"""

import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final

from .queue import JobQueue
from .shard_store import ShardStore, lease_of

log = logging.getLogger(__name__)

#: Shards looked at in one go, each with a question to Redis: some seconds.
_SLICE: Final = 20_000
#: So many of them, and over half, are no leftovers: then Redis is what is not right.
_ALARM: Final = 20


class Orphans:
    """Goes through all sealed shards again and again, `_SLICE` with each call.

    Args:
        queue: knows which attempts are kept.
        store: where the shards lie.
        older_than: no shard is looked at in which something changed since; time to set right a
            Redis that was restored from a backup which is older than the store.
    """

    def __init__(self, queue: JobQueue, store: ShardStore, older_than: timedelta) -> None:
        self._queue = queue
        self._store = store
        self._older_than = older_than.total_seconds()
        self._walk: AsyncIterator[str] | None = None

    async def sweep(self) -> int:
        """Remove the orphans of the next slice; says how many."""
        crawls = {crawl.name for crawl in await self._queue.crawls()}
        seen, orphans = 0, []
        async for prefix in self._slice():
            lease_id = lease_of(prefix)
            # What is of a crawl that Redis does not know stays: it may be all that is left of it.
            if lease_id is None or lease_id.partition("~")[0] not in crawls:
                continue
            seen += 1
            if not await self._queue.is_kept(lease_id):
                orphans.append(prefix)
        if len(orphans) >= _ALARM and len(orphans) * 2 > seen:
            log.error(
                "Redis knows nothing of %d of %d shards, such as %s; is it older than the store? "
                "None of them is removed",
                len(orphans), seen, orphans[0],
            )  # fmt: skip
            return 0
        for prefix in orphans:
            await self._store.remove(prefix)
        if orphans:
            log.info("%d sealed shards were left over and are removed", len(orphans))
        return len(orphans)

    async def _slice(self) -> AsyncIterator[str]:
        walk, self._walk = self._walk or aiter(self._store.sealed(self._older_than)), None
        for _ in range(_SLICE):
            try:
                yield await anext(walk)
            except StopAsyncIteration:
                return
        self._walk = walk  # only if all went well; else the next call starts anew
