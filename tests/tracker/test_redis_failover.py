"""A master that is killed while jobs are leased and done; sentinels name another one."""

import asyncio
from datetime import timedelta

import pytest
from redis.exceptions import RedisError

from laion_protocol import Counts, FileEntry, JobState, Manifest, SourceDigest
from laion_protocol.messages import NewCrawl
from tests.tracker.redis_servers import PASSWORD, SERVICE, sentinels
from tests.tracker.running import RECIPE
from tracker.connection import connect
from tracker.queue import HeldLease, JobQueue, RetryPolicy
from tracker.redis_check import check_redis

MANIFEST = Manifest(
    recipe_sha256="0" * 64,
    worker_version="1",
    filter_version="1",
    model_sha256="1" * 64,
    source=SourceDigest(path="a", part=0, parts=1, first_byte=0, end_byte=1, pairs_sha256="2" * 64),
    counts=Counts(pairs=1, kept=1),
    files=(FileEntry(name="shard.parquet", size=1, sha256="3" * 64),),
    seconds=1,
)
JOBS = 400


async def asked(call, tally):
    """The answer of `call`, asked again while Redis is away."""
    while True:
        try:
            return await call()
        except (RedisError, OSError):
            tally["refused"] += 1
            await asyncio.sleep(0.05)


@pytest.fixture
async def watched(tmp_path):
    async with sentinels(tmp_path, password=PASSWORD) as servers:
        yield servers


async def test_a_killed_master_loses_nothing_that_a_replica_was_waited_for(watched):
    master, _, watchers = watched
    hosts = ",".join(f"127.0.0.1:{watcher.port}" for watcher in watchers)
    url = f"redis+sentinel://:{PASSWORD}@{hosts}/{SERVICE}"
    tally = {"refused": 0}
    handed_in: set[str] = set()
    killed = asyncio.Event()
    async with connect(f"{url}?replicas=1") as redis, connect(url) as later:
        await check_redis(redis, url)
        policy = RetryPolicy(delay=timedelta(0), max_delay=timedelta(0))
        queue = JobQueue(redis, lease_duration=timedelta(hours=1), retry=policy)
        new = NewCrawl(name="A", base="/x", paths=("a",), parts=JOBS, recipe=RECIPE)
        await queue.add(new)

        async def work(name):
            """One worker, until nobody waits for the replica any more: the master was killed."""
            while True:
                try:
                    lease = await queue.lease("A", name, "pc")
                    assert isinstance(lease, HeldLease)
                    await queue.complete(lease.lease_id, name, MANIFEST)
                except RedisError:
                    killed.set()
                    return
                handed_in.add(lease.lease_id)
                if len(handed_in) == 24:
                    enough.set()

        enough = asyncio.Event()
        workers = [asyncio.create_task(work(f"w{number}")) for number in range(8)]
        await enough.wait()
        await master.kill()
        await asyncio.gather(*workers)
        assert killed.is_set()

        # The new master knows every answer that was given.
        queue = JobQueue(later, lease_duration=timedelta(hours=1), retry=policy)
        await asked(lambda: queue.crawl("A"), tally)
        for lease_id in handed_in:
            receipt = await asked(lambda: queue.receipt(lease_id, ""), tally)  # noqa: B023
            assert receipt.state is JobState.VERIFYING

        # And the work goes on to its end, each job counted once.
        while submission := await asked(
            lambda: queue.claim_verification("A", timedelta(hours=1)), tally
        ):
            await asked(
                lambda: queue.accept(submission.lease_id, Counts(pairs=1, kept=1), 1),
                tally,
            )
        stats = await queue.stats("A", silent_for=timedelta(hours=1))
        assert stats.kept == stats.jobs.accepted >= len(handed_in)
        assert tally["refused"] > 0
        again = await asked(lambda: queue.lease("A", "late", "pc"), tally)
        assert isinstance(again, HeldLease)
        await queue.complete(again.lease_id, "late", MANIFEST)


async def test_without_its_replica_a_master_that_must_wait_for_it_refuses_to_answer(watched):
    master, replica, _ = watched
    url = f"redis://:{PASSWORD}@127.0.0.1:{master.port}/0?replicas=1"
    async with connect(url) as redis:
        queue = JobQueue(redis)
        await queue.add(NewCrawl(name="A", base="/x", paths=("a",), recipe=RECIPE))
        await replica.kill()
        with pytest.raises(RedisError, match="0 of 1 replicas"):
            await queue.lease("A", "ann", "pc")
