"""Redis's append-only file after a power cut in the middle of a script's changes."""

import os
from contextlib import asynccontextmanager
from datetime import timedelta

from laion_protocol import JobState
from laion_protocol.messages import NewCrawl
from tests.tracker.redis_servers import answered, free_port, server
from tests.tracker.running import RECIPE, serving
from tracker.books import Books
from tracker.queue import JobQueue
from tracker.settings import Settings


@asynccontextmanager
async def redis_of(directory, port):
    async with (
        server(directory, "--appendonly", "yes", port=port) as running,
        running.client() as redis,
    ):
        yield running, redis


async def rewritten(redis):
    told = await redis.info("persistence")
    assert told["aof_last_rewrite_time_sec"] >= 0


async def test_half_a_script_that_a_power_cut_left_is_not_mixed_with_the_next_one(tmp_path):
    place, port = tmp_path / "redis", free_port()
    async with redis_of(place, port) as (running, redis):
        queue = JobQueue(redis)
        await queue.add(NewCrawl(name="A", base="/x", paths=("a",), parts=9, recipe=RECIPE))
        await queue.lease("A", "ann", "pc")
        await running.kill()
    [file] = [*place.glob("appendonlydir/*.incr.aof")] or [*place.glob("appendonly.aof")]
    written = file.read_bytes()
    os.truncate(file, written.rindex(b"leased_at"))  # after the lease was counted

    settings = Settings(
        data=tmp_path / "data", redis_url=f"redis://127.0.0.1:{port}/0", min_free_bytes=0
    )
    async with redis_of(place, port) as (running, redis), serving(settings):
        stats = await JobQueue(redis).stats("A", silent_for=timedelta(hours=1))
        assert stats.jobs.leased == 0
        await answered(lambda: rewritten(redis))
        lease = await JobQueue(redis).lease("A", "bob", "pc")
        await running.kill()

    async with redis_of(place, port) as (_, redis):
        assert (await Books(redis).sweep()).examples == []
        view = await JobQueue(redis).job(lease.job)
        assert (view.state, len(view.attempts)) == (JobState.LEASED, 1)
