"""`Rebuild`: the filters made anew from the shards that are accepted.

For a machine that did not check them itself, after files were lost, and after Redis was restored
from a backup: the filters would else know pairs that no accepted shard has any more.
"""

import asyncio
import logging
from typing import Final

import numpy as np

from laion_protocol import Manifest, NotFound, Stage, TrackerError
from tracker.queue import JobQueue
from tracker.shard_store import DESCRIPTION, ShardStore, shard_prefix
from tracker.verify import ShardChecker

from .committed import Committed
from .dedupe import Dedupe

log = logging.getLogger(__name__)

_TOGETHER: Final = 500_000


class Rebuild:
    """At most one at a time on a machine; while it runs, nothing is committed, only noted. The
    machine becomes the one that answers workers, see `Home`."""

    def __init__(
        self, dedupe: Dedupe, queue: JobQueue, store: ShardStore, checker: ShardChecker
    ) -> None:
        self._dedupe = dedupe
        self._queue = queue
        self._store = store
        self._checker = checker
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, unless it is under way in this process."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._logged(), name="rebuild of dedupe files")

    async def stop(self) -> None:
        """End it half-way; the filters stay as they are."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def run(self) -> bool:
        """Read all accepted shards, then take the new filters; False if another process does it.

        Raises:
            OSError, StorageFull, Unavailable, CheckerBroken, RedisError: nothing was changed.
        """
        with self._dedupe.exclusively().tried() as free:
            if not free:
                return False
            index, home = self._dedupe.index, self._dedupe.home
            if await home.is_elsewhere():
                await asyncio.to_thread(index.unready)
            # Before the shards are read: what is accepted from now on is noted here.
            await home.take()
            missed = await home.elsewhere()
            try:
                filters = await asyncio.to_thread(index.fresh)
                await self._fill(filters)
                await asyncio.to_thread(filters.sync)
                await asyncio.to_thread(index.replace)
                await home.known_now(missed)
            finally:
                index.rebuilding(0, 0)
            return True

    async def _fill(self, filters: Committed) -> None:
        done = unreadable = 0
        waiting: list[bytes] = []
        crawls = [crawl for crawl in await self._queue.crawls() if crawl.recipe.dedupe]
        for crawl in crawls:
            async for lease_id in self._queue.accepted(crawl.name):
                self._dedupe.index.rebuilding(done, unreadable)
                try:
                    waiting.append(await self._keys(lease_id))
                except (TrackerError, ValueError) as error:
                    unreadable += 1
                    log.warning("the shard of %s tells no pairs: %s", lease_id, error)
                done += 1
                if sum(map(len, waiting)) >= _TOGETHER * 8:
                    await asyncio.to_thread(_add, filters, waiting)
                    waiting = []
        await asyncio.to_thread(_add, filters, waiting)
        log.info("the dedupe files know the pairs of %d shards, %d unreadable", done, unreadable)

    async def _keys(self, lease_id: str) -> bytes:
        """By the same check as when it was accepted: only a confined process reads its files."""
        prefix = shard_prefix(lease_id)
        try:
            text = b"".join([piece async for piece in self._store.read(prefix, DESCRIPTION)])
        except FileNotFoundError as error:
            raise NotFound("its files are not in the store") from error
        manifest = Manifest.model_validate_json(text)
        # A score stage's shard was compared with its intermediate then, which is gone now.
        manifest = manifest.model_copy(update={"stage": Stage.HYBRID})
        recipe = (await self._queue.crawl(lease_id.partition("~")[0])).recipe
        async with self._store.checkout(prefix) as directory:
            verdict = await self._checker.check(directory, manifest, recipe)
        if not verdict.accepted:
            raise ValueError(verdict.reason)
        return verdict.keys

    async def _logged(self) -> None:
        try:
            await self.run()
        except Exception:
            log.exception("the dedupe files were not made anew; they are as they were")


def _add(filters: Committed, keys: list[bytes]) -> None:
    filters.add(np.frombuffer(b"".join(keys), "<u8"))
