"""Who gets a job, why others get none, and what workers hear on the way."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from laion_protocol import (
    FailureClass,
    Forbidden,
    IdleReason,
    LeaseLost,
    Outcome,
    RateLimited,
    Stage,
    WorkerState,
)
from laion_protocol.client import TrackerClient
from laion_protocol.messages import (
    Completion,
    Failure,
    Heartbeat,
    LeaseRequest,
    Maintenance,
    NewAnnouncement,
    Pause,
    Release,
    Treat,
    WorkerVersions,
)
from tests.tracker.running import RECIPE, until
from tests.tracker.shards import make_shard
from tracker import app
from tracker.identity import Workers
from tracker.leasing import Leasing
from tracker.queue import Failures, JobQueue
from tracker.turnstile import Turnstile

ASK = LeaseRequest(worker="pc", version="0.1.0")
NO_PROGRESS = Heartbeat()


def in_(**time):
    return datetime.now(UTC) + timedelta(**time)


async def idle(client, ask=ASK):
    answer = await client.lease(ask)
    assert answer.idle is not None, answer.lease
    assert answer.idle.message
    assert answer.idle.retry_after > 0
    return answer.idle


async def leased(client, ask=ASK):
    answer = await client.lease(ask)
    assert answer.lease is not None, answer.idle
    return answer.lease


async def set_state(redis, state, *, account="ann", worker="pc", reason=""):
    workers = Workers(redis)
    await workers.set_state(account, worker, state, reason=reason, by="root")


async def test_of_all_reasons_the_first_is_told_and_then_the_next(start, redis, tmp_path):
    tracker = await start(min_free_bytes=2**62, max_held=1)
    admin, worker = await tracker.admin(), await tracker.worker("ann")
    await tracker.add_crawl(files=6)
    queue = JobQueue(redis)
    for _ in range(3):
        held = await queue.lease("CC-1", "ann", "pc")
        await queue.fail(held.lease_id, "ann", FailureClass.WORKER, "")
    held = await queue.lease("CC-1", "ann", "pc")
    handed_in = await queue.lease("CC-1", "bob", "pc")
    manifest = make_shard(tmp_path / "shard", RECIPE).manifest
    await queue.complete(handed_in.lease_id, "bob", manifest)
    await Workers(redis).seen("ann", "pc")

    await set_state(redis, WorkerState.BANNED, reason="it mines")
    await admin.set_worker_versions(WorkerVersions(least="0.2", reason="a bug"))
    await admin.set_maintenance(Maintenance(until=in_(hours=1), reason="a new disk"))
    await admin.pause_project(Pause(reason="complaints"))
    told = await idle(worker)
    assert (told.reason, "it mines" in told.message) == (IdleReason.BANNED, True)

    await set_state(redis, WorkerState.DRAINING, reason="moving house")
    told = await idle(worker)
    assert told.reason is IdleReason.OUTDATED
    assert "0.2" in told.message
    assert "0.1.0" in told.message
    assert "a bug" in told.message
    await admin.clear_worker_versions()
    told = await idle(worker)
    assert (told.reason, "a new disk" in told.message) == (IdleReason.MAINTENANCE, True)
    await admin.end_maintenance()
    told = await idle(worker)
    assert (told.reason, "complaints" in told.message) == (IdleReason.PAUSED, True)
    await admin.resume_project()
    told = await idle(worker)
    assert (told.reason, "moving house" in told.message) == (IdleReason.DRAINING, True)
    await set_state(redis, WorkerState.ACTIVE)
    told = await idle(worker)
    assert (told.reason, "failed" in told.message) == (IdleReason.COOLDOWN, True)
    await Failures(redis).forgive(["CC-1"], "ann", ["pc"])
    assert (await idle(worker)).reason is IdleReason.QUOTA
    await queue.release(held.lease_id, "ann", "")
    assert (await idle(worker)).reason is IdleReason.STORAGE_FULL

    roomy = await (await start(max_backlog=0)).client(worker._http._token)
    assert (await idle(roomy)).reason is IdleReason.VERIFICATION_BACKLOG
    await queue.reject(handed_in.lease_id, "rubbish")
    await asyncio.sleep(0.3)  # the statistics are a moment old
    await leased(roomy)


async def test_a_banned_account_is_told_so_by_every_call(tracker, redis):
    await tracker.add_crawl()
    worker = await tracker.worker("ann")
    held = await leased(worker)
    await set_state(redis, WorkerState.BANNED, worker=None, reason="it lied")
    told = await idle(worker)
    assert (told.reason, "it lied" in told.message) == (IdleReason.BANNED, True)
    with pytest.raises(Forbidden, match="it lied"):
        await worker.heartbeat(held.lease_id, NO_PROGRESS)


async def test_a_lease_that_an_admin_took_away_is_lost_with_the_reason(tracker, redis):
    await tracker.add_crawl()
    worker = await tracker.worker("ann")
    held = await leased(worker)
    await JobQueue(redis).cancel("ann", "pc", "it uploads nonsense")
    with pytest.raises(LeaseLost, match="it uploads nonsense"):
        await worker.heartbeat(held.lease_id, NO_PROGRESS)


async def test_until_the_date_of_grace_an_old_worker_gets_jobs_and_a_notice(tracker):
    await tracker.add_crawl()
    admin, worker = await tracker.admin(), await tracker.worker("ann")
    assert (await worker.lease(ASK)).notice == ""

    due = WorkerVersions(
        least="0.2", required_after=in_(days=3), reason="a bug", recommended="0.10"
    )
    await admin.set_worker_versions(due)
    answer = await worker.lease(ASK)
    assert answer.lease is not None
    assert f"{due.required_after:%Y-%m-%d}" in answer.notice
    assert "a bug" in answer.notice
    # PEP 440, not the alphabet: 0.9 is below 0.10
    answer = await worker.lease(LeaseRequest(worker="pc", version="0.9"))
    assert answer.lease is not None
    assert "0.10" in answer.notice
    assert (await worker.lease(LeaseRequest(worker="pc", version="0.10.1"))).notice == ""

    over = due.model_copy(update={"required_after": in_(seconds=-1)})
    await admin.set_worker_versions(over)
    for version in ("0.1.0", "0.2.dev3", "no version"):
        told = await idle(worker, LeaseRequest(worker="pc", version=version))
        assert told.reason is IdleReason.OUTDATED, version


async def test_a_full_store_still_hands_out_what_makes_room(start, redis, tmp_path):
    tracker = await start(min_free_bytes=2**62)
    await tracker.add_crawl(files=3)
    worker = await tracker.worker("ann")
    queue = JobQueue(redis)
    fetched = await queue.lease("CC-1", "bob", "pc", frozenset({Stage.FETCH}))
    manifest = make_shard(tmp_path / "shard", RECIPE).manifest
    manifest = manifest.model_copy(update={"stage": Stage.FETCH, "model_sha256": None})
    await queue.complete(fetched.lease_id, "bob", manifest)
    await queue.accept(fetched.lease_id, manifest.counts, 1)

    assert (await idle(worker)).reason is IdleReason.STORAGE_FULL
    able = LeaseRequest(worker="pc", version="0.1.0", stages=(Stage.HYBRID, Stage.SCORE))
    held = await leased(worker, able)
    assert (held.stage, held.job) == (Stage.SCORE, str(fetched.job))
    assert held.fetched == manifest
    assert (await idle(worker, able)).reason is IdleReason.STORAGE_FULL
    only = LeaseRequest(worker="pc", version="0.1.0", stages=(Stage.SCORE,))
    told = await idle(worker, only)
    assert (told.reason, told.message) == (IdleReason.NO_WORK, "nothing waits to be scored")


async def test_an_open_crawls_reason_is_told_before_that_of_one_that_is_not(tracker, redis):
    worker, queue = await tracker.worker("ann"), JobQueue(redis)
    assert (await idle(worker)).reason is IdleReason.NO_WORK
    for name in ("A", "B", "C"):
        await tracker.add_crawl(name, files=1)
    await queue.pause("B")
    await queue.lease("C", "bob", "pc")
    await queue.drain("C")
    held = await leased(worker)
    assert held.job.startswith("A/")
    assert (await idle(worker)).reason is IdleReason.NO_WORK  # of A: it may come back
    await queue.finish("A")
    assert (await idle(worker)).reason is IdleReason.PAUSED
    await queue.finish("B")
    assert (await idle(worker)).reason is IdleReason.DRAINING
    await queue.finish("C")
    assert (await idle(worker)).reason is IdleReason.NO_WORK


async def test_a_worker_that_only_fails_waits_until_it_does_better_or_is_forgiven(tracker, redis):
    await tracker.add_crawl(files=20)
    worker = await tracker.worker("ann")
    for _ in range(3):
        held = await leased(worker)
        broken = Failure(failure_class=FailureClass.WORKER, message="no room on the disk")
        await worker.fail(held.lease_id, broken)
    told = await idle(worker)
    assert told.reason is IdleReason.COOLDOWN
    assert 290 < told.retry_after <= 300 + 4 * tracker.settings.idle_retry.total_seconds()
    assert (await worker.lease(LeaseRequest(worker="laptop", version="1"))).lease is not None

    for _ in range(3):  # a job's, a line's or the tracker's own fault is none of the worker's
        for fault in (FailureClass.JOB, FailureClass.NETWORK, FailureClass.SERVER):
            held = await leased(worker, LeaseRequest(worker="third", version="1"))
            await worker.fail(held.lease_id, Failure(failure_class=fault, message="x"))
    await leased(worker, LeaseRequest(worker="third", version="1"))

    await Failures(redis).forgive(["CC-1"], "ann", ["pc"])
    await leased(worker)


async def test_a_client_that_takes_a_new_name_after_each_failure_waits_all_the_same(tracker):
    await tracker.add_crawl(files=20)
    worker = await tracker.worker("ann")
    broken = Failure(failure_class=FailureClass.WORKER, message="x")
    for number in range(10):
        held = await leased(worker, LeaseRequest(worker=f"pc{number}", version="1"))
        await worker.fail(held.lease_id, broken)
    told = await idle(worker)
    assert (told.reason, "your workers" in told.message) == (IdleReason.COOLDOWN, True)
    await leased(await tracker.worker("bob"))
    await (await tracker.admin()).pardon("ann", None, Treat(reason="has learnt"))
    await leased(worker)


async def test_failures_while_the_tracker_itself_was_failing_do_not_count(tracker, redis):
    await tracker.add_crawl(files=10)
    worker = await tracker.worker("ann")
    seconds, _ = await redis.time()
    minute = int(seconds) // 60
    await redis.zadd("{project}:troubles", {str(minute): minute})
    for _ in range(3):
        held = await leased(worker)
        await worker.fail(held.lease_id, Failure(failure_class=FailureClass.WORKER, message="503"))
    answer = await worker.lease(ASK)
    assert answer.idle is None, "the worker is told to wait"
    assert answer.lease is not None


async def test_heartbeats_carry_what_the_worker_should_do(tracker, redis):
    await tracker.add_crawl()
    admin, worker = await tracker.admin(), await tracker.worker("ann")
    held = await leased(worker)

    async def beat():
        return await worker.heartbeat(held.lease_id, NO_PROGRESS)

    answer = await beat()
    assert (answer.directive, answer.message, answer.announcements) == ("continue", "", ())
    await admin.pause_crawl("CC-1")
    answer = await beat()
    assert (answer.directive, "may be finished" in answer.message) == ("continue", True)
    await admin.set_maintenance(Maintenance(until=in_(hours=1), reason="a new disk"))
    answer = await beat()
    assert (answer.directive, "a new disk" in answer.message) == ("continue", True)
    await set_state(redis, WorkerState.DRAINING, reason="moving house")
    answer = await beat()
    assert (answer.directive, "moving house" in answer.message) == ("drain", True)
    await admin.pause_project(Pause(reason="complaints"))
    answer = await beat()
    assert (answer.directive, "complaints" in answer.message) == ("pause", True)
    assert answer.deadline > in_(seconds=20)  # a pause costs nobody the lease

    told = await admin.announce(NewAnnouncement(text="hello"))
    assert (await beat()).announcements == (told,)
    assert (await worker.lease(ASK)).announcements == (told,)


async def test_a_heartbeat_costs_two_questions_to_redis(tracker, redis):
    await tracker.add_crawl()
    worker = await tracker.exit.enter_async_context(
        TrackerClient(tracker.url, await tracker.account("ann"), worker="pc")
    )
    held = await leased(worker)

    async def scripts_run():
        return (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]

    before = await scripts_run()
    for _ in range(100):
        await worker.heartbeat(held.lease_id, NO_PROGRESS)
    # the gate and the queue; and now and then the reaper
    assert 200 <= await scripts_run() - before < 250


async def test_idle_workers_do_not_come_back_together(start):
    tracker = await start(idle_retry=timedelta(seconds=10))
    admin, worker = await tracker.admin(), await tracker.worker("ann")
    waits = [(await idle(worker)).retry_after for _ in range(20)]
    assert all(5 <= wait <= 15 for wait in waits)
    assert max(waits) - min(waits) > 2

    await admin.set_maintenance(Maintenance(until=in_(seconds=100), reason="r"))
    waits = [(await idle(worker)).retry_after for _ in range(20)]
    assert all(98 <= wait <= 140 for wait in waits)  # never before it is over
    assert max(waits) - min(waits) > 5
    await admin.set_maintenance(Maintenance(until=in_(days=1), reason="r"))
    assert (await idle(worker)).retry_after <= 30 * 60 + 40  # it may end early


async def test_heartbeats_and_completions_do_not_queue_behind_leases(start, monkeypatch, tmp_path):
    """Five hundred ask for work at once, and none is answered as long as the test likes."""
    tracker = await start(lease_patience=30)
    await tracker.add_crawl(files=3)
    worker = await tracker.worker("ann")
    held = await leased(worker)
    answer, asked = asyncio.Event(), 0
    lease = Leasing.lease

    async def slow(self, ask):
        nonlocal asked
        asked += 1
        await answer.wait()
        return await lease(self, ask)

    monkeypatch.setattr(Leasing, "lease", slow)
    crowd = await tracker.raw()
    crowd.connector._limit = 0  # as many connections as it likes
    crowd.headers["Authorization"] = f"Bearer {worker._http._token}"
    body = ASK.model_dump(mode="json")
    calls = [asyncio.create_task(crowd.post("/v1/leases", json=body)) for _ in range(500)]
    await until(lambda: asked == tracker.settings.leases_at_once, 60)
    await asyncio.sleep(0.5)
    assert asked == tracker.settings.leases_at_once

    waits = []
    for _ in range(50):
        began = time.perf_counter()
        await worker.heartbeat(held.lease_id, NO_PROGRESS)
        waits.append(time.perf_counter() - began)
    assert sorted(waits)[len(waits) // 2] < 1, waits  # behind a lease it would be for ever
    shard = make_shard(tmp_path / "shard", RECIPE, lease=held)
    plan = await worker.plan_uploads(held.lease_id, shard.files)
    await worker.upload_file(plan.slots[0], shard.directory / plan.slots[0].name)
    receipt = await worker.complete(held.lease_id, Completion(manifest=shard.manifest))
    assert receipt.outcome is None

    answer.set()
    statuses = [(await call).status for call in calls]
    assert len(statuses) == 500
    assert set(statuses) <= {200, 429}  # the token's own rate is bounded


async def test_who_would_wait_too_long_for_a_lease_is_told_when_to_come_again(start, monkeypatch):
    turnstiles = []

    class Watched(Turnstile):
        def __init__(self, **bounds):
            super().__init__(**bounds)
            turnstiles.append(self)

    monkeypatch.setattr(app, "Turnstile", Watched)
    tracker = await start(leases_at_once=1, lease_patience=1, max_lease_queue=1)
    await tracker.add_crawl()
    worker = await tracker.worker("ann")
    answer, asked = asyncio.Event(), asyncio.Event()
    lease = Leasing.lease

    async def slow(self, ask):
        asked.set()
        await answer.wait()
        return await lease(self, ask)

    monkeypatch.setattr(Leasing, "lease", slow)
    first = asyncio.create_task(worker.lease(ASK))
    await asked.wait()
    second = asyncio.create_task(worker.lease(ASK))
    await until(lambda: turnstiles[0].waiting == 1)
    began = time.perf_counter()
    with pytest.raises(RateLimited, match="waiting for jobs") as refusal:  # the queue is full
        await worker.lease(ASK)
    assert time.perf_counter() - began < 0.8
    assert 1 <= refusal.value.retry_after <= 4
    with pytest.raises(RateLimited):  # its patience is over
        await second
    answer.set()
    assert (await first).lease is not None
    assert (await worker.lease(ASK)).lease is not None  # and there are turns again


async def test_who_hands_in_after_somebody_else_is_thanked(tracker, redis, tmp_path):
    await tracker.add_crawl(files=1)
    ann, bob = await tracker.worker("ann"), await tracker.worker("bob")
    held = await leased(ann)
    await JobQueue(redis).cancel("ann", "pc", "silent")
    second = await leased(bob)
    shard = make_shard(tmp_path / "shard", RECIPE, lease=held)
    plan = await bob.plan_uploads(second.lease_id, shard.files)
    await bob.upload_file(plan.slots[0], shard.directory / plan.slots[0].name)
    await bob.complete(second.lease_id, Completion(manifest=shard.manifest))
    for _ in range(2):
        receipt = await ann.complete(held.lease_id, Completion(manifest=shard.manifest))
        assert (receipt.outcome, "replica" in receipt.message) == (Outcome.SUPERSEDED, True)
    with pytest.raises(LeaseLost):
        await ann.release(held.lease_id, Release())


async def test_who_does_not_read_the_answer_holds_no_turn(start):
    """One connection asks for work, and for something large, and reads neither answer."""
    tracker = await start(leases_at_once=1, lease_patience=0.2)
    worker = await tracker.worker("ann")
    head = f"HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {worker._http._token}\r\n"
    body = ASK.model_dump_json()
    ask = (
        f"POST /v1/leases {head}Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    )
    port = int(tracker.url.rpartition(":")[2])
    _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)  # reads next to nothing
    try:
        writer.write((f"GET /openapi.json {head}\r\n{ask}" * 90).encode())  # its rate allows 200
        await asyncio.sleep(1.5)  # until no more of the answers can be sent
        for _ in range(3):
            assert (await worker.lease(ASK)).idle is not None
    finally:
        writer.transport.abort()
