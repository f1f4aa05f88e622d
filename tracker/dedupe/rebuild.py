"""`Rebuild`: the filters made anew from the shards that are accepted.

For a machine that did not check them itself, after files were lost, and after Redis was restored
from a backup: the filters would else know pairs that no accepted shard has any more.
"""

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Final

import numpy as np
from redis.exceptions import RedisError

from laion_protocol import Manifest, NotFound, Stage, TrackerError
from tracker.cancelled import is_cancelled
from tracker.queue import JobQueue
from tracker.shard_store import DESCRIPTION, ShardStore, shard_prefix
from tracker.verify import ShardChecker

from .committed import Committed
from .dedupe import Dedupe
from .shared_file import BrokenFile

log = logging.getLogger(__name__)

_TOGETHER: Final = 500_000
#: Seconds for which a look at the lock may keep a rebuild from beginning.
_PATIENCE: Final = 1.0
#: Seconds between two looks whether a rebuild died half-way.
_LOOK: Final = 60.0


class Rebuild:
    """At most one at a time on a machine; while it runs, nothing is committed, only noted. The
    machine becomes the one that answers workers, see `Home`.

    `takeover` is how long, in seconds, it waits before it reads the shards, when another machine
    was that one: longer than from a note there to the acceptance of its shard.
    """

    def __init__(
        self,
        dedupe: Dedupe,
        queue: JobQueue,
        store: ShardStore,
        checker: ShardChecker,
        *,
        takeover: float = 10,
    ) -> None:
        self._takeover = takeover
        self._dedupe = dedupe
        self._queue = queue
        self._store = store
        self._checker = checker
        self._task: asyncio.Task[None] | None = None
        self._begun: asyncio.Future[bool] | None = None

    async def start(self) -> bool:
        """Return when it has begun; False if one is under way on this machine already.

        Raises:
            OSError, BrokenFile, RedisError: it could not begin.
        """
        if self._begun is not None and self._task is not None and not self._task.done():
            await asyncio.shield(self._begun)
            return False
        self._begun = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._logged(self._begun), name="rebuild of dedupe files")
        return await asyncio.shield(self._begun)

    async def watch(self) -> None:
        """Begin again, until cancelled, what a process that died left half-way: the project has no
        other machine that answers."""
        while not is_cancelled():
            try:
                await self.resume()
            except (RedisError, OSError, BrokenFile) as error:
                log.warning("a rebuild of the dedupe files may be half-way: %s", error)
            except Exception:
                log.exception("the dedupe files were not made anew")
            await asyncio.sleep(_LOOK)

    async def resume(self) -> bool:
        """Rebuild if a rebuild died here half-way; whether it had."""
        return await self._unfinished() and await self.run(resuming=True)

    async def stop(self) -> None:
        """End it half-way; the filters stay as they are."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def run(
        self, begun: Callable[[], None] = lambda: None, *, resuming: bool = False
    ) -> bool:
        """Read all accepted shards, then take the new filters; False if another process does it,
        or there is nothing to resume. Calls `begun` when this machine is the one that answers.

        Raises:
            OSError, StorageFull, Unavailable, CheckerBroken, RedisError: nothing was changed.
        """
        async with self._dedupe.rebuilding().waited(_PATIENCE) as free:
            if not free or (resuming and not await self._unfinished()):
                return False
            index, home = self._dedupe.index, self._dedupe.home
            if await home.is_elsewhere():
                await asyncio.to_thread(index.unready)
            try:
                # Before the shards are read: what is accepted from now on is noted here.
                former = await home.take()
                begun()
                missed = await home.missed_ever()
                if former:
                    await asyncio.sleep(self._takeover)
                await self._read_all()
            except BaseException:
                await self._give_back()
                raise
            if not await home.known_now(missed):
                log.warning("another machine has taken over the dedupe files meanwhile")
            return True

    async def _read_all(self) -> None:
        index = self._dedupe.index
        async with self._dedupe.exclusively().waited(math.inf):
            try:
                filters = await asyncio.to_thread(index.fresh)
                await self._fill(filters)
                await asyncio.to_thread(filters.sync)
                await asyncio.to_thread(index.replace)
            finally:
                index.rebuilding(0, 0)

    async def _give_back(self) -> None:
        """The machine that answered before does it again, unless this one can by now."""
        if self._dedupe.index.ready:
            return
        async with self._dedupe.exclusively().waited(math.inf):
            if await self._dedupe.home.give_back():
                await self._dedupe.strand()

    async def _unfinished(self) -> bool:
        """Whether this machine is the one that answers, and cannot."""
        dedupe = self._dedupe
        if not dedupe.directory.exists() or await asyncio.to_thread(lambda: dedupe.index.ready):
            return False
        return not await dedupe.home.is_elsewhere()

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

    async def _logged(self, begun: asyncio.Future[bool]) -> None:
        def done(*, ran: bool) -> None:
            if not begun.done():
                begun.set_result(ran)

        try:
            await self.run(lambda: done(ran=True))
            done(ran=False)
        except Exception as error:
            log.exception("the dedupe files were not made anew; they are as they were")
            if not begun.done():
                begun.set_exception(error)
        finally:
            begun.cancel()


def _add(filters: Committed, keys: list[bytes]) -> None:
    filters.add(np.frombuffer(b"".join(keys), "<u8"))
