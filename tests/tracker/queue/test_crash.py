"""`kill -9` of Redis in mid-run: what was answered is still true after its restart."""

import asyncio
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from laion_protocol import IdleReason, JobState
from laion_protocol.messages import JobCounts
from tracker.events import EventLog
from tracker.queue import JobQueue

CRAWL = "CC-TEST-1"


class DurableRedis:
    """A redis-server that has each write on disk before it answers; it can be killed."""

    def __init__(self, binary: str, directory: Path) -> None:
        self.socket = directory / "s"
        self.command = [binary, "--port", "0", "--unixsocket", str(self.socket)]
        self.command += ["--dir", str(directory), "--save", ""]
        self.command += ["--appendonly", "yes", "--appendfsync", "always"]

    def launch(self) -> None:
        self.socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)

    async def start(self) -> None:
        self.launch()
        async with asyncio.timeout(30), Redis(unix_socket_path=str(self.socket)) as probe:
            while True:
                try:
                    await probe.ping()
                    return
                except RedisError:
                    assert self.process.poll() is None, "redis-server did not start"
                    await asyncio.sleep(0.02)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(redis_server: str) -> Iterator[DurableRedis]:
    with tempfile.TemporaryDirectory(prefix="lw-") as directory:
        server = DurableRedis(redis_server, Path(directory))
        yield server
        server.kill()


async def test_what_was_answered_before_a_crash_of_redis_is_true_after_it(
    server, new_crawl, manifest
):
    await server.start()
    redis = Redis.from_url(f"unix://{server.socket}", decode_responses=True)
    async with redis:
        queue = JobQueue(redis, lease_duration=timedelta(hours=1), max_held=100)
        await queue.add(new_crawl(files=150))
        leased, completed, accepted = {}, set(), set()
        enough = asyncio.Event()

        async def work(account):
            """A worker and a verifier, noting down each answer."""
            while True:
                lease = await queue.lease(CRAWL, account, "w")
                leased[lease.lease_id] = lease
                await queue.complete(lease.lease_id, account, manifest())
                completed.add(lease.lease_id)
                if len(completed) % 5:
                    await queue.accept(lease.lease_id, manifest().counts, 10)
                    accepted.add(lease.lease_id)
                if len(accepted) == 40:
                    enough.set()

        workers = [asyncio.create_task(work(f"account-{number}")) for number in range(8)]
        async with asyncio.timeout(30):
            await enough.wait()
        server.kill()
        ends = await asyncio.gather(*workers, return_exceptions=True)
        assert all(isinstance(end, RedisError) for end in ends)

        await server.start()
        for lease_id, lease in leased.items():
            receipt = await queue.receipt(lease_id, lease.account)
            if lease_id in accepted:
                assert receipt.state is JobState.ACCEPTED
            elif lease_id in completed:
                assert receipt.state in (JobState.VERIFYING, JobState.ACCEPTED)
            else:
                assert receipt.state in (JobState.LEASED, JobState.VERIFYING)

        # a change whose answer was lost was made whole or not at all
        stats = await queue.stats(CRAWL, silent_for=timedelta(0))
        credits = (await queue.credits(CRAWL)).values()
        assert sum(credit.jobs for credit in credits) == stats.jobs.accepted >= len(accepted)
        assert stats.kept == 3 * stats.jobs.accepted
        log = [entry.event for entry in await EventLog(redis).read("0", 5000)]
        told = [event for event in log if event.type == "shard_accepted"]
        assert len(told) == stats.jobs.accepted
        assert told[-1].accepted == stats.jobs.accepted

        # and the crawl goes on to its end
        while (shard := await queue.claim_verification(CRAWL, timedelta(hours=1))) is not None:
            await queue.accept(shard.lease_id, manifest().counts, 10)
        for account in {lease.account for lease in leased.values()}:
            for lease in await queue.held(account, "w"):
                await queue.release(lease.lease_id, account, "crashed")
        while (lease := await queue.lease(CRAWL, "zoe", "w")) is not IdleReason.NO_WORK:
            await queue.complete(lease.lease_id, "zoe", manifest())
            await queue.accept(lease.lease_id, manifest().counts, 10)
        stats = await queue.stats(CRAWL, silent_for=timedelta(0))
        assert stats.jobs == JobCounts(
            total=150, pending=0, leased=0, verifying=0, accepted=150, dead=0
        )


async def test_a_redis_that_is_away_is_an_error_of_redis(server, new_crawl):
    await server.start()
    redis = Redis.from_url(f"unix://{server.socket}", decode_responses=True)
    async with redis:
        queue = JobQueue(redis)
        await queue.add(new_crawl())
        server.kill()
        with pytest.raises(RedisError):
            await queue.lease(CRAWL, "ada", "w")
        await server.start()
        assert (await queue.lease(CRAWL, "ada", "w")).attempt == 1
