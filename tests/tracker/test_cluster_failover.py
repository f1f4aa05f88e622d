"""A master of a cluster that is killed while jobs are leased and done; its replica takes over."""

import asyncio
import time
from datetime import timedelta

from redis.exceptions import RedisError

from laion_protocol import Counts, LeaseLost
from laion_protocol.messages import NewCrawl
from tests.tracker.redis_servers import cluster
from tests.tracker.running import RECIPE
from tests.tracker.test_redis_failover import MANIFEST
from tracker.books import Books
from tracker.connection import connect
from tracker.queue import HeldLease, JobQueue, RetryPolicy, keys

JOBS = 600
AWAY = (RedisError, OSError)


class Fleet:
    """Workers and a verifier in one, that go on whatever happens to Redis."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self.accepted_at: list[float] = []
        self.refused = 0

    async def work(self, crawl: str, name: str) -> None:
        while True:
            try:
                if not await self._live(crawl, name) and await self._is_done(crawl):
                    return
            except LeaseLost:  # the new master knows nothing of it
                continue
            except AWAY:
                self.refused += 1
                await asyncio.sleep(0.05)

    async def _live(self, crawl: str, name: str) -> bool:
        lease = await self._queue.lease(crawl, name, "pc")
        if not isinstance(lease, HeldLease):
            await asyncio.sleep(0.05)
        else:
            await self._queue.complete(lease.lease_id, name, MANIFEST)
        await self._queue.reap(crawl)
        found = await self._queue.claim_verification(crawl, timedelta(seconds=1))
        if found is not None:
            await self._queue.accept(found.lease_id, Counts(pairs=1, kept=1), 1)
            self.accepted_at.append(time.monotonic())
        return found is not None

    async def _is_done(self, crawl: str) -> bool:
        stats = await self._queue.stats(crawl, silent_for=timedelta(hours=1))
        return stats.jobs.accepted == stats.jobs.total


async def master_of(crawl, redis, nodes):
    await redis.nodes_manager.initialize()
    port = redis.get_node_from_key(keys.meta(crawl)).port
    return next(node for node in nodes if node.port == port)


async def test_the_work_goes_on_when_a_master_of_a_cluster_is_killed(tmp_path):
    async with cluster(tmp_path, replicated=True) as nodes:
        url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes[:3])
        async with connect(url) as redis:
            policy = RetryPolicy(delay=timedelta(0), max_delay=timedelta(0))
            queue = JobQueue(redis, lease_duration=timedelta(seconds=1), retry=policy)
            new = NewCrawl(name="A", base="/x", paths=("a",), parts=JOBS, recipe=RECIPE)
            await queue.add(new)
            async with (await master_of("A", redis, nodes)).client() as client:
                # a master calls a replica online up to a second before it sends it anything
                assert await client.wait(1, 20_000) == 1

            fleet = Fleet(queue)
            workers = [asyncio.create_task(fleet.work("A", f"w{n}")) for n in range(6)]
            while len(fleet.accepted_at) < JOBS // 4:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            # looked up now: a replica may have taken over from a master that stood still
            await (await master_of("A", redis, nodes)).kill()
            killed_at = time.monotonic()
            async with asyncio.timeout(60):
                await asyncio.gather(*workers)

            assert fleet.refused > 0
            later = [at for at in fleet.accepted_at if at > killed_at + 0.2]
            assert min(later) - killed_at < 30  # 4.7 s on two cores that had other work
            stats = await queue.stats("A", silent_for=timedelta(hours=1))
            assert stats.jobs.accepted == stats.kept == JOBS
            credits = await queue.credits("A")
            assert sum(credit.jobs for credit in credits.values()) == JOBS
            assert (await Books(redis).sweep()).examples == []
