"""Redis's append-only file after a power cut in the middle of a script's changes."""

import os
import signal
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from laion_protocol import JobState
from laion_protocol.messages import NewCrawl
from tests.tracker.redis_servers import answered, cluster, free_port, server
from tests.tracker.running import RECIPE, serving
from tracker import append_file
from tracker.append_file import AppendFile
from tracker.books import Books
from tracker.connection import connect
from tracker.queue import JobQueue
from tracker.settings import Settings


@asynccontextmanager
async def redis_of(directory, port=None):
    options = ("--appendonly", "yes", "--appendfsync", "always")  # what it answered is in the file
    async with (
        server(directory, *options, port=port) as running,
        running.client() as redis,
    ):
        yield running, redis


async def rewritten(redis):
    told = await redis.info("persistence")
    assert told["aof_last_rewrite_time_sec"] >= 0
    assert told["aof_last_bgrewrite_status"] == "ok"


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


async def under_way(redis):
    told = await redis.info("persistence")
    return bool(told["aof_rewrite_in_progress"] or told["aof_rewrite_scheduled"])


async def failed(redis):
    assert (await redis.info("persistence"))["aof_last_bgrewrite_status"] == "err"
    assert not await under_way(redis)


def child_of(process):
    [child] = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return int(child)


async def test_a_rewrite_that_failed_is_done_again_after_a_pause(tmp_path, monkeypatch, caplog):
    async with redis_of(tmp_path / "redis") as (running, redis):
        await redis.set("a", "b")
        await redis.config_set("rdb-key-save-delay", 60_000_000)  # µs: until it is killed
        file = AppendFile(redis)
        await file.look()
        assert await under_way(redis)
        os.kill(child_of(running.process.pid), signal.SIGKILL)
        await answered(lambda: failed(redis))
        await redis.config_set("rdb-key-save-delay", 0)

        for _ in range(2):
            await file.look()
            assert not await under_way(redis)
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        await failed(redis)
        monkeypatch.setattr(append_file, "_PAUSE", 0.0)
        await AppendFile(redis).look()
        await answered(lambda: rewritten(redis))


async def test_a_master_that_is_away_does_not_keep_the_others_from_it(tmp_path):
    async with cluster(tmp_path, 2, "--appendonly", "yes") as nodes:
        url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)
        async with connect(url) as redis:
            first, *others = await redis.masters()
            port = first.connection_pool.connection_kwargs["port"]
            [away] = [node for node in nodes if node.port == port]
            await away.kill()
            first.set_retry(Retry(NoBackoff(), 0))  # for the test's time only
            with pytest.raises(RedisConnectionError):
                await AppendFile(redis).look()
            for other in others:
                await answered(lambda other=other: rewritten(other))
