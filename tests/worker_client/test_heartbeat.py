"""The heartbeat, over real HTTP against the real tracker."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from laion_protocol import LeaseLost, Unauthorized
from laion_protocol.client import TrackerClient
from laion_protocol.messages import (
    Lease,
    LeaseRequest,
    NewAnnouncement,
    Pause,
    Release,
    Requeue,
)
from tests.tracker.running import until
from tests.worker_client.line import Line
from tests.worker_client.project import Project, Said, project
from tracker.identity import Accounts
from worker_client.heartbeat import Heartbeat
from worker_client.meter import Meter


@pytest.fixture
async def p(redis: Redis, redis_url: str, tmp_path: Path) -> AsyncIterator[Project]:
    async with project(redis, redis_url, tmp_path, lease_duration=1) as running:
        yield running


@pytest.fixture
async def client(p: Project) -> TrackerClient:
    return await p.worker_client()


@pytest.fixture
async def lease(client: TrackerClient) -> Lease:
    answer = await client.lease(LeaseRequest(worker="box", version="0"))
    assert answer.lease is not None
    return answer.lease


async def test_a_lease_outlives_its_term_while_it_beats_and_shows_its_progress(
    p: Project, client: TrackerClient, lease: Lease
) -> None:
    meter = Meter()
    meter.stage, meter.downloaded, meter.tally.pairs = "download", 5, 9
    async with Heartbeat(client, lease, meter, p.said, p.news):
        await asyncio.sleep(2)  # twice the lease's term
    admin = await p.tracker.admin()
    (job,) = (await admin.stale_jobs(silent_for=None)).jobs or (None,)
    assert (await p.stats()).jobs.leased == 1
    held = await client.held_leases("box")
    assert [held_lease.lease_id for held_lease in held.leases] == [lease.lease_id]
    if job is not None:
        assert (job.progress.stage, job.progress.downloaded) == ("download", 5)


async def test_a_lost_lease_cancels_the_work_in_the_block(
    p: Project, client: TrackerClient, lease: Lease
) -> None:
    cancelled, started = False, time.monotonic()
    admin = await p.tracker.admin()
    with pytest.raises(LeaseLost):
        async with asyncio.timeout(20), Heartbeat(client, lease, Meter(), p.said, p.news):
            await admin.requeue(Requeue(jobs=(lease.job,), reason="test"))
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled = True
                raise
    assert cancelled
    assert time.monotonic() - started < 10  # by the heartbeat, not by the test's own timeout
    await asyncio.sleep(0)  # and nothing is left over that would cancel the next await


async def test_a_revoked_token_ends_the_work_as_such(
    p: Project, client: TrackerClient, lease: Lease, redis: Redis
) -> None:
    with pytest.raises(Unauthorized):
        async with asyncio.timeout(20), Heartbeat(client, lease, Meter(), p.said, p.news):
            await Accounts(redis).revoke("ann")
            await asyncio.sleep(60)


async def test_a_tracker_that_is_away_does_not_disturb_the_work(
    p: Project, client: TrackerClient, lease: Lease
) -> None:
    async with (
        Line(p.tracker.url) as line,
        TrackerClient(line.url, p.settings.token, patience=0) as over_line,
        Heartbeat(over_line, lease, Meter(), p.said, p.news),
    ):
        line.cut()
        await until(lambda: line.refused >= 2)
        line.mend()
        await until(lambda: "the tracker is back" in p.said)
    assert sum("goes on without the tracker" in line for line in p.said.lines) == 1


async def test_an_error_of_the_work_and_a_stop_from_outside_pass_through(
    p: Project, client: TrackerClient, lease: Lease
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with Heartbeat(client, lease, Meter(), p.said, p.news):
            raise ZeroDivisionError

    async def work() -> None:
        async with Heartbeat(client, lease, Meter(), p.said, p.news):
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await client.release(lease.lease_id, Release())


async def test_what_the_tracker_says_is_shown_once(
    p: Project, client: TrackerClient, lease: Lease
) -> None:
    await (await p.tracker.admin()).pause_crawl("CC-1")
    said: Said = p.said
    async with Heartbeat(client, lease, Meter(), said, p.news):
        await until(lambda: "the crawl is paused" in said)
        await asyncio.sleep(0.5)
    assert sum("the crawl is paused" in line for line in said.lines) == 1


async def test_a_pause_holds_the_pipeline_until_it_is_over_and_keeps_the_lease(
    p: Project, client: TrackerClient, lease: Lease
) -> None:
    admin, meter, stop = await p.tracker.admin(), Meter(), threading.Event()
    async with asyncio.timeout(30), Heartbeat(client, lease, meter, p.said, p.news):
        await admin.pause_project(Pause(reason="a store is moved"))
        await until(lambda: not meter.may_run.is_set())
        held = asyncio.create_task(asyncio.to_thread(meter.wait_while_paused, stop))
        await asyncio.sleep(1.5)  # longer than the lease would last without a beat
        assert not held.done()
        assert meter.stage == "paused"
        await admin.resume_project()
        await held
    assert "the tracker asks for a pause" in p.said
    assert "a store is moved" in p.said
    assert "going on" in p.said
    assert (await p.stats()).jobs.leased == 1


async def test_a_paused_pipeline_still_hears_that_it_should_stop() -> None:
    meter, stop = Meter(), threading.Event()
    meter.may_run.clear()
    stop.set()
    async with asyncio.timeout(5):
        await asyncio.to_thread(meter.wait_while_paused, stop)


async def test_announcements_come_with_the_beat_and_are_shown_once(
    p: Project, client: TrackerClient, lease: Lease
) -> None:
    admin = await p.tracker.admin()
    await admin.announce(NewAnnouncement(text="thank you all"))
    async with asyncio.timeout(20), Heartbeat(client, lease, Meter(), p.said, p.news):
        await until(lambda: "the project says: thank you all" in p.said)
        await asyncio.sleep(0.5)
    assert sum("thank you" in line for line in p.said.lines) == 1
