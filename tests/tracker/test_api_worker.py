"""The whole protocol of a worker, by hand, against the real app."""

import asyncio
import hashlib
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from yarl import URL

from laion_protocol import (
    FailureClass,
    FileEntry,
    IdleReason,
    InvalidRequest,
    JobState,
    LeaseLost,
    NotFound,
    Outcome,
    Role,
    StorageFull,
    TooLarge,
    Unauthorized,
    UploadMismatch,
)
from laion_protocol.messages import (
    Completion,
    Failure,
    Heartbeat,
    LeaseRequest,
    NewCrawl,
    Progress,
    Release,
    Requeue,
)
from laion_protocol.shard_format import MAX_FILE_BYTES, SHARD_FILE
from tests.tracker.running import RECIPE, until
from tests.tracker.shards import make_shard
from tracker.app import _build
from tracker.identity import Caller
from tracker.queue import JobQueue
from tracker.routes.leases import complete

ASK = LeaseRequest(worker="pc", version="0.1.0")


async def lease(client, ask=ASK):
    answer = await client.lease(ask)
    assert answer.lease is not None, answer.idle
    return answer.lease


async def upload(client, lease, shard):
    plan = await client.plan_uploads(lease.lease_id, shard.files)
    for slot in plan.slots:
        await client.upload_file(slot, shard.directory / slot.name)


async def settled(client, lease):
    """The receipt, once the tracker has decided."""
    async with asyncio.timeout(20):
        while True:
            receipt = await client.receipt(lease.lease_id)
            if receipt.outcome is not None:
                return receipt
            await asyncio.sleep(0.02)


def kept_files(tracker):
    return [path for path in tracker.settings.data.rglob("*") if path.name == SHARD_FILE]


async def test_a_worker_leases_beats_uploads_completes_and_is_accepted(start, tmp_path):
    tracker = await start(checkers=1)
    recipe_sha256 = await tracker.add_crawl()
    worker = await tracker.worker("ann")

    held = await lease(worker)
    assert held.source == f"https://example.org/warc/{held.job.partition('/')[2]}.warc.gz"
    assert held.recipe == RECIPE
    assert held.recipe_sha256 == recipe_sha256
    assert (await worker.held_leases("pc")).leases[0].lease_id == held.lease_id

    beat = Heartbeat(progress=Progress(stage="download", pairs=9))
    assert (await worker.heartbeat(held.lease_id, beat)).deadline >= held.deadline

    shard = make_shard(tmp_path / "shard", RECIPE, lease=held)
    await upload(worker, held, shard)
    receipt = await worker.complete(held.lease_id, Completion(manifest=shard.manifest))
    assert receipt.state is JobState.VERIFYING
    assert (await settled(worker, held)).outcome is Outcome.OK

    crawl = (await worker.crawls())[0]
    while crawl.jobs.accepted == 0:  # the statistics are a moment old
        await asyncio.sleep(0.1)
        crawl = (await worker.crawls())[0]
    assert (crawl.jobs.accepted, crawl.kept, crawl.pairs) == (1, 5, 7)
    assert crawl.bytes == shard.files[0].size
    assert [(row.account, row.kept) for row in (await worker.leaderboard()).rows] == [("ann", 5)]

    [stored] = kept_files(tracker)
    assert stored.read_bytes() == (shard.directory / SHARD_FILE).read_bytes()
    assert (stored.parent / "manifest.json").is_file()
    assert stored.is_relative_to(tracker.settings.data / "shards" / "CC-1")

    again = await worker.complete(held.lease_id, Completion(manifest=shard.manifest))
    assert again.outcome is Outcome.OK


async def test_a_repeated_completion_gets_the_same_receipt(tracker, tmp_path):
    await tracker.add_crawl()
    worker = await tracker.worker()
    held = await lease(worker)
    shard = make_shard(tmp_path / "shard", RECIPE, lease=held)
    await upload(worker, held, shard)
    first = await worker.complete(held.lease_id, Completion(manifest=shard.manifest))
    second = await worker.complete(held.lease_id, Completion(manifest=shard.manifest))
    assert first == second


async def test_a_rejected_shard_is_removed_and_its_job_waits_again_with_the_reason(start, tmp_path):
    tracker = await start(checkers=1)
    await tracker.add_crawl(files=1)
    worker = await tracker.worker()
    held = await lease(worker)
    shard = make_shard(tmp_path / "shard", RECIPE, lease=held, kept=4)  # it holds five rows
    await upload(worker, held, shard)
    events = worker.events(after="0")
    await worker.complete(held.lease_id, Completion(manifest=shard.manifest))

    receipt = await settled(worker, held)
    assert (receipt.state, receipt.outcome) == (JobState.PENDING, Outcome.INVALID)
    assert "5 rows" in receipt.message
    async with asyncio.timeout(5):
        async for _, event in events:
            if event.type == "attempt_lost":
                break
    assert event.outcome is Outcome.INVALID
    assert "5 rows" in event.message
    assert kept_files(tracker) == []


async def test_completing_without_the_files_names_the_one_that_is_missing(tracker, tmp_path):
    await tracker.add_crawl()
    worker = await tracker.worker()
    held = await lease(worker)
    shard = make_shard(tmp_path / "shard", RECIPE, lease=held)
    with pytest.raises(UploadMismatch, match=SHARD_FILE):
        await worker.complete(held.lease_id, Completion(manifest=shard.manifest))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"recipe_sha256": "0" * 64}, "recipe_sha256"),
        ({"part": 1, "parts": 2}, "source"),
        ({"path": "another.warc.gz"}, "source.path"),
    ],
)
async def test_a_manifest_about_something_else_is_refused(tracker, tmp_path, change, field):
    await tracker.add_crawl()
    worker = await tracker.worker()
    held = await lease(worker)
    shard = make_shard(tmp_path / "shard", RECIPE, lease=held)
    await upload(worker, held, shard)
    manifest = shard.manifest
    if "recipe_sha256" in change:
        manifest = manifest.model_copy(update=change)
    else:
        source = manifest.source.model_copy(update=change)
        manifest = manifest.model_copy(update={"source": source})
    with pytest.raises(InvalidRequest, match=field):
        await worker.complete(held.lease_id, Completion(manifest=manifest))


async def test_an_upload_with_a_wrong_hash_keeps_nothing(tracker, tmp_path):
    await tracker.add_crawl()
    worker = await tracker.worker()
    held = await lease(worker)
    shard = make_shard(tmp_path / "shard", RECIPE, lease=held)
    lie = shard.files[0].model_copy(update={"sha256": "0" * 64})
    [slot] = (await worker.plan_uploads(held.lease_id, (lie,))).slots
    with pytest.raises(UploadMismatch, match="SHA-256"):
        await worker.upload_file(slot, shard.directory / SHARD_FILE)
    assert kept_files(tracker) == []
    assert list((tracker.settings.data / "incoming").iterdir()) == []


async def test_half_an_upload_leaves_nothing_and_is_resumed_file_by_file(start, tmp_path):
    tracker = await start()
    recipe = RECIPE.model_copy(update={"embeddings": True})
    await tracker.add_crawl(recipe=recipe)
    worker = await tracker.worker()
    held = await lease(worker)
    shard = make_shard(
        tmp_path / "shard", recipe, lease=held, vectors=np.zeros((5, 4), dtype=np.float16)
    )
    plan = await worker.plan_uploads(held.lease_id, shard.files)
    await worker.upload_file(plan.slots[0], shard.directory / plan.slots[0].name)
    await cut_upload(tracker, worker, plan.slots[1], (shard.directory / plan.slots[1].name))

    incoming = tracker.settings.data / "incoming"
    await until(lambda: not list(incoming.iterdir()))
    plan = await worker.plan_uploads(held.lease_id, shard.files)
    assert [slot.present for slot in plan.slots] == [True, False]
    await worker.upload_file(plan.slots[1], shard.directory / plan.slots[1].name)
    plan = await worker.plan_uploads(held.lease_id, shard.files)
    assert [slot.present for slot in plan.slots] == [True, True]


async def cut_upload(tracker, worker, slot, path):
    """Send the head and half of the body, then break the connection."""
    host, port = tracker.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = f"PUT {slot.url} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {path.stat().st_size}\r\n"
    token = worker._http._token
    head += f"Authorization: Bearer {token}\r\nX-Content-SHA256: "
    head += slot.headers["X-Content-SHA256"] + "\r\n\r\n"
    writer.write(head.encode() + path.read_bytes()[: path.stat().st_size // 2])
    await writer.drain()
    incoming = tracker.settings.data / "incoming"
    await until(lambda: list(incoming.iterdir()))
    writer.transport.abort()


async def test_a_file_over_the_bound_is_refused_before_it_is_sent(tracker):
    await tracker.add_crawl()
    worker = await tracker.worker()
    held = await lease(worker)
    host, port = tracker.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"PUT /v1/leases/{held.lease_id}/files/{SHARD_FILE} HTTP/1.1\r\nHost: {host}\r\n"
    head += f"Content-Length: {MAX_FILE_BYTES + 1}\r\nX-Content-SHA256: {'0' * 64}\r\n"
    head += f"Authorization: Bearer {worker._http._token}\r\n\r\n"
    writer.write(head.encode())
    async with asyncio.timeout(5):
        status = await reader.readline()
    assert str(int(TooLarge.status)).encode() in status
    writer.close()
    await writer.wait_closed()


async def test_only_files_of_the_shard_can_be_named(tracker):
    await tracker.add_crawl()
    worker = await tracker.worker()
    held = await lease(worker)
    session = await tracker.raw()
    headers = {
        "Authorization": f"Bearer {worker._http._token}",
        "X-Content-SHA256": hashlib.sha256(b"x").hexdigest(),
    }
    for name in ("..", "..%2Fx", ".hidden", "manifest.json", "A.parquet", "shard-64.parquet"):
        url = URL(f"{tracker.url}/v1/leases/{held.lease_id}/files/{name}", encoded=True)
        async with session.put(url, data=b"x", headers=headers) as answer:
            assert answer.status in (404, 405, 422), name
    assert not list((tracker.settings.data / "uploads").rglob("*.*"))


async def test_another_accounts_lease_is_as_if_it_did_not_exist(tracker, tmp_path):
    await tracker.add_crawl()
    ann, bob = await tracker.worker("ann"), await tracker.worker("bob")
    held = await lease(ann)
    shard = make_shard(tmp_path / "shard", RECIPE, lease=held)
    for call in (
        lambda: bob.heartbeat(held.lease_id, Heartbeat()),
        lambda: bob.plan_uploads(held.lease_id, shard.files),
        lambda: bob.complete(held.lease_id, Completion(manifest=shard.manifest)),
        lambda: bob.release(held.lease_id, Release()),
        lambda: bob.receipt(held.lease_id),
    ):
        with pytest.raises(NotFound):
            await call()
    assert (await bob.held_leases("pc")).leases == ()


async def test_a_wrong_token_is_refused(tracker):
    for token in (None, "lw_0", f"lw_{'0' * 12}_{'0' * 64}", "x" * 5_000):
        client = await tracker.client(token)
        with pytest.raises(Unauthorized):
            await client.lease(ASK)


async def test_a_released_job_goes_to_the_next_and_its_files_are_removed(tracker, tmp_path):
    await tracker.add_crawl(files=1)
    ann, bob = await tracker.worker("ann"), await tracker.worker("bob")
    held = await lease(ann)
    await upload(ann, held, make_shard(tmp_path / "shard", RECIPE, lease=held))
    assert kept_files(tracker)
    assert (await ann.release(held.lease_id, Release())).outcome is Outcome.RELEASED
    assert kept_files(tracker) == []
    assert (await lease(bob)).job == held.job
    with pytest.raises(LeaseLost):
        await ann.heartbeat(held.lease_id, Heartbeat())


async def test_a_failed_job_is_not_handed_out_at_once(tracker):
    await tracker.add_crawl(files=1)
    worker = await tracker.worker()
    held = await lease(worker)
    failure = Failure(failure_class=FailureClass.JOB, message="no such file")
    assert (await worker.fail(held.lease_id, failure)).outcome is Outcome.FAILED
    assert (await worker.lease(ASK)).idle.reason is IdleReason.NO_WORK


async def test_an_expired_lease_goes_to_the_next_worker(start):
    tracker = await start(lease_duration=timedelta(seconds=0.3))
    await tracker.add_crawl(files=1)
    worker = await tracker.worker()
    held = await lease(worker)
    receipt = await settled(worker, held)
    assert (receipt.outcome, receipt.state) == (Outcome.EXPIRED, JobState.PENDING)


async def test_idle_answers_say_why_and_when_to_ask_again(start):
    tracker = await start(idle_retry=timedelta(seconds=10))
    worker = await tracker.worker()
    idle = (await worker.lease(ASK)).idle
    assert idle.reason is IdleReason.NO_WORK
    assert 5 <= idle.retry_after <= 15

    await tracker.add_crawl()
    await (await tracker.admin()).pause_crawl("CC-1")
    assert (await worker.lease(ASK)).idle.reason is IdleReason.PAUSED
    await (await tracker.admin()).resume_crawl("CC-1")
    assert (await worker.lease(ASK)).lease is not None


async def test_a_full_store_hands_out_no_jobs_and_takes_no_files(start, tmp_path):
    tracker = await start(min_free_bytes=2**62)
    await tracker.add_crawl()
    worker = await tracker.worker()
    assert (await worker.lease(ASK)).idle.reason is IdleReason.STORAGE_FULL

    roomy = await start()
    other = await roomy.client(worker._http._token)
    held = await lease(other)
    shard = make_shard(tmp_path / "shard", RECIPE, lease=held)
    [slot] = (await other.plan_uploads(held.lease_id, shard.files)).slots
    with pytest.raises(StorageFull) as refusal:  # before a byte is sent
        await worker.plan_uploads(held.lease_id, shard.files)
    assert refusal.value.retry_after
    with pytest.raises(StorageFull):
        await worker.upload_file(slot, shard.directory / SHARD_FILE)


async def test_a_verification_backlog_hands_out_no_jobs(start, tmp_path):
    tracker = await start(max_backlog=0)
    await tracker.add_crawl()
    worker = await tracker.worker()
    held = await lease(worker)
    shard = make_shard(tmp_path / "shard", RECIPE, lease=held)
    await upload(worker, held, shard)
    await worker.complete(held.lease_id, Completion(manifest=shard.manifest))
    async with asyncio.timeout(5):  # the statistics are a moment old
        while (answer := await worker.lease(LeaseRequest(worker="b", version="0"))).idle is None:
            await worker.release(answer.lease.lease_id, Release())
            await asyncio.sleep(0.1)
    assert answer.idle.reason is IdleReason.VERIFICATION_BACKLOG


async def test_a_file_that_comes_after_the_shard_was_handed_in_changes_nothing(tracker, tmp_path):
    await tracker.add_crawl()
    worker = await tracker.worker()
    held = await lease(worker)
    shard = make_shard(tmp_path / "shard", RECIPE, lease=held)
    await upload(worker, held, shard)
    [slot] = (await worker.plan_uploads(held.lease_id, shard.files)).slots
    await worker.complete(held.lease_id, Completion(manifest=shard.manifest))
    with pytest.raises(LeaseLost):
        await worker.upload_file(slot, shard.directory / SHARD_FILE)


async def test_two_trackers_on_one_redis_are_one_tracker(start, tmp_path):
    one, two = await start(), await start(checkers=1)
    await one.add_crawl(files=2)
    worker = await one.worker()
    here = worker
    there = await two.client(worker._http._token)
    first, second = await lease(here), await lease(there)
    assert first.job != second.job
    await there.heartbeat(first.lease_id, Heartbeat())
    shard = make_shard(tmp_path / "shard", RECIPE, lease=first)
    await upload(there, first, shard)
    await here.complete(first.lease_id, Completion(manifest=shard.manifest))
    assert (await settled(here, first)).outcome is Outcome.OK


async def test_a_lease_that_opens_again_while_it_completes_hands_in_nothing_unseen(
    redis, settings, tmp_path
):
    class Racing(JobQueue):
        """Between the two questions of `complete`, the job's other worker hands it back."""

        async def open_lease(self, lease_id, account):
            try:
                return await super().open_lease(lease_id, account)
            except LeaseLost:
                await super().release(other.lease_id, "bob", "")
                raise

    queue = Racing(redis)
    await queue.add(NewCrawl(name="A", base="/", paths=("a",), recipe=RECIPE))
    held = await queue.lease("A", "ann", "pc")
    await queue.requeue([held.job], "silent")
    other = await queue.lease("A", "bob", "pc")
    shard = make_shard(tmp_path / "shard", RECIPE)  # never uploaded
    resources = replace(_build(redis, settings), queue=queue)
    completion = Completion(manifest=shard.manifest)
    with pytest.raises(LeaseLost):
        await complete(held.lease_id, completion, Caller("ann", Role.VOLUNTEER), resources)
    assert (await queue.job(held.job)).state is JobState.PENDING


async def test_a_lease_that_was_taken_away_is_lost_also_when_it_completes(tracker, tmp_path):
    await tracker.add_crawl(files=1)
    ann, bob = await tracker.worker("ann"), await tracker.worker("bob")
    held = await lease(ann)
    shard = make_shard(tmp_path / "shard", RECIPE, lease=held)
    await upload(ann, held, shard)
    await (await tracker.admin()).requeue(Requeue(jobs=(held.job,), reason="silent"))
    second = await lease(bob)
    with pytest.raises(LeaseLost):
        await ann.complete(held.lease_id, Completion(manifest=shard.manifest))
    await upload(bob, second, shard)
    await bob.complete(second.lease_id, Completion(manifest=shard.manifest))
    receipt = await ann.complete(held.lease_id, Completion(manifest=shard.manifest))
    assert receipt.outcome is Outcome.SUPERSEDED  # what is checked is the other's
    assert "replica" in receipt.message


async def test_a_file_entry_may_not_leave_its_directory():
    with pytest.raises(ValueError, match="name"):
        FileEntry(name="../x", size=1, sha256="0" * 64)
