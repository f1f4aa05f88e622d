import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from laion_protocol import (
    Counts,
    DropReason,
    FailureClass,
    InvalidRequest,
    JobState,
    LeaseLost,
    NotFound,
    Outcome,
)
from laion_protocol.messages import Progress
from tracker.queue import Credit, JobRef

CRAWL = "CC-TEST-1"


async def over():
    """Wait until the leases of `hasty` have run out."""
    await asyncio.sleep(0.003)


@pytest.fixture
async def lease(queue, new_crawl):
    """The lease of a crawl's only job."""
    await queue.add(new_crawl())
    return await queue.lease(CRAWL, "ada", "w")


async def test_a_completed_job_waits_for_verification_and_is_held_by_nobody(
    queue, lease, manifest, redis
):
    receipt = await queue.complete(lease.lease_id, "ada", manifest())
    assert (receipt.state, receipt.outcome) == (JobState.VERIFYING, None)
    assert await queue.held("ada", "w") == ()
    assert (await queue.stats(CRAWL, silent_for=timedelta(0))).stale == 0
    with pytest.raises(LeaseLost, match="handed in already"):
        await queue.extend(lease.lease_id, "ada", Progress())
    with pytest.raises(LeaseLost, match="handed in already"):
        await queue.open_lease(lease.lease_id, "ada")


async def test_completing_twice_is_the_same_as_once(queue, lease, manifest):
    first = await queue.complete(lease.lease_id, "ada", manifest(kept=1))
    assert await queue.complete(lease.lease_id, "ada", manifest(kept=2)) == first
    (submission,) = await queue.verifying(CRAWL, 10)
    assert submission.manifest.counts.kept == 1


async def test_a_completed_job_is_not_reaped_when_its_lease_time_is_over(
    queue, hasty, new_crawl, manifest
):
    await queue.add(new_crawl())
    lease = await hasty.lease(CRAWL, "ada", "w")
    await queue.complete(lease.lease_id, "ada", manifest())
    await over()
    assert await queue.reap(CRAWL) == 0
    assert (await queue.job(lease.job)).state is JobState.VERIFYING


async def test_a_shard_that_comes_after_the_deadline_but_before_the_reaper_counts_as_late(
    queue, hasty, new_crawl, manifest
):
    await queue.add(new_crawl())
    lease = await hasty.lease(CRAWL, "ada", "w")
    await over()
    await queue.complete(lease.lease_id, "ada", manifest())
    receipt = await queue.accept(lease.lease_id, manifest().counts, 10)
    assert receipt.outcome is Outcome.LATE_OK
    assert await queue.receipt(lease.lease_id, "ada") == receipt


async def test_a_late_shard_is_taken_while_nobody_else_has_the_job(
    queue, hasty, new_crawl, manifest
):
    await queue.add(new_crawl())
    lease = await hasty.lease(CRAWL, "ada", "w")
    await over()
    await queue.reap(CRAWL)
    assert (await queue.open_lease(lease.lease_id, "ada")).lease_id == lease.lease_id
    receipt = await queue.complete(lease.lease_id, "ada", manifest())
    assert (receipt.state, receipt.outcome) == (JobState.VERIFYING, None)
    assert (await queue.claim_verification(CRAWL, timedelta(minutes=1))).late
    assert not isinstance(await queue.lease(CRAWL, "bob", "w"), type(lease))
    receipt = await queue.accept(lease.lease_id, manifest().counts, 10)
    assert (receipt.state, receipt.outcome) == (JobState.ACCEPTED, Outcome.LATE_OK)
    assert await queue.credits(CRAWL) == {"ada": Credit(jobs=1, kept=3)}


async def test_the_first_of_two_late_workers_gets_its_shard_in(queue, hasty, new_crawl, manifest):
    await queue.add(new_crawl())
    first = await hasty.lease(CRAWL, "ada", "w")
    await over()
    await queue.reap(CRAWL)
    second = await hasty.lease(CRAWL, "bob", "w")
    await over()
    await queue.reap(CRAWL)
    await queue.complete(first.lease_id, "ada", manifest())
    with pytest.raises(LeaseLost, match="is being verified"):
        await queue.open_lease(second.lease_id, "bob")
    await queue.accept(first.lease_id, manifest().counts, 10)
    with pytest.raises(LeaseLost, match="was accepted"):
        await queue.open_lease(second.lease_id, "bob")
    view = await queue.job(first.job)
    assert (view.finished.account, view.finished.attempt) == ("ada", 1)


async def test_a_late_shard_is_taken_even_of_a_dead_job(queue, hasty, new_crawl, manifest):
    await queue.add(new_crawl())
    for account in ("ada", "bob", "cyd"):
        lease = await hasty.lease(CRAWL, account, "w")
        await over()
        await queue.reap(CRAWL)
    assert (await queue.job(lease.job)).state is JobState.DEAD
    await queue.complete(lease.lease_id, "cyd", manifest())
    assert (await queue.stats(CRAWL, silent_for=timedelta(0))).jobs.dead == 0
    receipt = await queue.accept(lease.lease_id, manifest().counts, 10)
    assert receipt.state is JobState.ACCEPTED


@pytest.mark.parametrize("ending", ["released", "failed"])
async def test_a_job_that_was_handed_back_cannot_be_completed(queue, lease, manifest, ending):
    if ending == "released":
        await queue.release(lease.lease_id, "ada", "bye")
    else:
        await queue.fail(lease.lease_id, "ada", FailureClass.JOB, "no such file")
    with pytest.raises(LeaseLost):
        await queue.complete(lease.lease_id, "ada", manifest())
    with pytest.raises(LeaseLost):
        await queue.open_lease(lease.lease_id, "ada")
    assert (await queue.job(lease.job)).state is JobState.PENDING


async def test_a_shard_is_verified_by_one_and_by_the_next_when_that_one_died(
    queue, new_crawl, manifest
):
    await queue.add(new_crawl(files=2))
    leases = [await queue.lease(CRAWL, "ada", "w") for _ in range(2)]
    for lease in leases:
        await queue.complete(lease.lease_id, "ada", manifest())
        await asyncio.sleep(0.002)
    first = await queue.claim_verification(CRAWL, timedelta(minutes=1))
    assert (first.lease_id, first.manifest, first.late) == (leases[0].lease_id, manifest(), False)
    second = await queue.claim_verification(CRAWL, timedelta(milliseconds=1))
    assert second.lease_id == leases[1].lease_id
    await over()
    again = await queue.claim_verification(CRAWL, timedelta(minutes=1))
    assert replace(again, claim=second.claim) == second
    assert again.claim != second.claim
    assert await queue.claim_verification(CRAWL, timedelta(minutes=1)) is None
    assert {waiting.lease_id for waiting in await queue.verifying(CRAWL, 10)} == {
        lease.lease_id for lease in leases
    }
    assert len(await queue.verifying(CRAWL, 1)) == 1


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ("{", "manifest: Invalid JSON"),
        ("{}", "recipe_sha256: Field required"),
        (None, "manifest: JSON input should be"),
    ],
)
async def test_a_manifest_that_cannot_be_read_is_rejected_and_the_next_shard_is_checked(
    queue, new_crawl, manifest, redis, caplog, broken, says
):
    await queue.add(new_crawl(files=2))
    bad, good = [await queue.lease(CRAWL, "ada", "w") for _ in range(2)]
    for lease in (bad, good):
        await queue.complete(lease.lease_id, "ada", manifest())
        await asyncio.sleep(0.002)
    key = f"crawl:{{{CRAWL}}}:job:{bad.job.index}"
    if broken is None:
        await redis.hdel(key, "manifest")
    else:
        await redis.hset(key, "manifest", broken)
    assert [each.lease_id for each in await queue.verifying(CRAWL, 10)] == [good.lease_id]
    claimed = await queue.claim_verification(CRAWL, timedelta(minutes=1))
    assert claimed.lease_id == good.lease_id
    receipt = await queue.receipt(bad.lease_id, "ada")
    assert (receipt.state, receipt.outcome) == (JobState.PENDING, Outcome.INVALID)
    assert "cannot read this shard's manifest" in receipt.message
    assert says in receipt.message
    assert str(bad.job.index) in caplog.text
    assert bad.lease_id not in caplog.text  # its secret is nobody's business
    assert await queue.claim_verification(CRAWL, timedelta(minutes=1)) is None


async def test_accepting_counts_once_however_often_it_is_said(queue, lease, manifest, redis):
    counts = Counts(pairs=10, kept=4, drops={DropReason.DNS: 5, DropReason.UNSAFE: 1})
    await queue.complete(lease.lease_id, "ada", manifest())
    receipts = await asyncio.gather(*(queue.accept(lease.lease_id, counts, 99) for _ in range(5)))
    assert {(receipt.state, receipt.outcome) for receipt in receipts} == {
        (JobState.ACCEPTED, Outcome.OK)
    }
    stats = await queue.stats(CRAWL, silent_for=timedelta(0))
    assert (stats.jobs.accepted, stats.jobs.verifying, stats.jobs.pending) == (1, 0, 0)
    assert (stats.attempts, stats.pairs, stats.kept, stats.bytes) == (1, 10, 4, 99)
    assert stats.drops == {DropReason.DNS: 5, DropReason.UNSAFE: 1}
    assert (stats.accepted_last_hour, stats.accepted_last_day) == (1, 1)
    assert await queue.credits(CRAWL) == {"ada": Credit(jobs=1, kept=4)}
    finished = (await queue.job(lease.job)).finished
    assert (finished.account, finished.worker, finished.attempt) == ("ada", "w", 1)
    assert (finished.kept, finished.pairs, finished.bytes) == (4, 10, 99)
    assert finished.accepted_at >= lease.leased_at


async def test_the_receipt_of_an_accepted_shard_repeats(queue, lease, manifest):
    await queue.complete(lease.lease_id, "ada", manifest())
    accepted = await queue.accept(lease.lease_id, manifest().counts, 10)
    assert await queue.complete(lease.lease_id, "ada", manifest()) == accepted
    assert await queue.receipt(lease.lease_id, "ada") == accepted
    with pytest.raises(NotFound):
        await queue.receipt(lease.lease_id, "eve")
    for call in (
        queue.release(lease.lease_id, "ada", "bye"),
        queue.extend(lease.lease_id, "ada", Progress()),
        queue.reject(lease.lease_id, "no"),
        queue.fail(lease.lease_id, "ada", FailureClass.JOB, "no"),
    ):
        with pytest.raises(LeaseLost, match="handed in already"):
            await call
    assert (await queue.job(lease.job)).state is JobState.ACCEPTED


async def test_a_rejected_shard_costs_an_attempt_and_its_receipt_repeats(queue, lease, manifest):
    await queue.complete(lease.lease_id, "ada", manifest())
    rejected = await queue.reject(lease.lease_id, "shard.parquet: row 3 has no URL")
    assert (rejected.state, rejected.outcome) == (JobState.PENDING, Outcome.INVALID)
    assert rejected.message == "shard.parquet: row 3 has no URL"
    for again in (
        await queue.reject(lease.lease_id, "again"),
        await queue.complete(lease.lease_id, "ada", manifest()),
        await queue.receipt(lease.lease_id, "ada"),
    ):
        assert again == rejected
    with pytest.raises(LeaseLost, match="was rejected"):
        await queue.accept(lease.lease_id, manifest().counts, 10)
    assert await queue.credits(CRAWL) == {}
    assert (await queue.lease(CRAWL, "bob", "w")).attempt == 2


async def test_only_a_shard_that_was_handed_in_can_be_accepted_or_rejected(queue, lease, manifest):
    with pytest.raises(LeaseLost):
        await queue.accept(lease.lease_id, manifest().counts, 10)
    with pytest.raises(LeaseLost):
        await queue.reject(lease.lease_id, "no")
    assert (await queue.job(lease.job)).lease == lease


async def test_the_losers_of_a_job_still_learn_what_became_of_their_leases(
    queue, new_crawl, manifest, redis
):
    await queue.add(new_crawl())
    bad = await queue.lease(CRAWL, "ada", "w")
    await queue.complete(bad.lease_id, "ada", manifest())
    await queue.reject(bad.lease_id, "empty")
    good = await queue.lease(CRAWL, "bob", "w")
    await queue.complete(good.lease_id, "bob", manifest())
    accepted = await queue.accept(good.lease_id, manifest().counts, 10)
    assert await queue.complete(good.lease_id, "bob", manifest()) == accepted
    receipt = await queue.complete(bad.lease_id, "ada", manifest())
    assert (receipt.outcome, receipt.message) == (Outcome.INVALID, "empty")
    outcomes = [attempt.outcome for attempt in (await queue.job(good.job)).attempts]
    assert outcomes == [Outcome.INVALID, Outcome.OK]

    (job_key,) = await redis.keys("*:job:*")
    assert await redis.ttl(job_key) > 6 * 24 * 3600
    await redis.delete(job_key)  # as after a week
    with pytest.raises(LeaseLost, match="was accepted"):
        await queue.complete(bad.lease_id, "ada", manifest())
    assert await queue.complete(good.lease_id, "bob", manifest()) == accepted
    assert (await queue.job(good.job)).state is JobState.ACCEPTED


async def test_a_job_done_at_the_first_try_leaves_one_small_record(queue, lease, manifest, redis):
    await queue.complete(lease.lease_id, "ada", manifest())
    await queue.accept(lease.lease_id, manifest().counts, 10)
    assert await redis.keys("*:job:*") == []
    (record,) = await redis.hvals("crawl:{CC-TEST-1}:finished")
    assert len(record) < 100


async def test_counts_that_would_overflow_the_counters_are_refused(queue, lease, manifest):
    huge = 10**9 + 1
    with pytest.raises(InvalidRequest, match="1000000001 pairs"):
        await queue.complete(lease.lease_id, "ada", manifest(kept=huge, dropped=0))
    with pytest.raises(ValueError, match="cannot be counted"):
        await queue.accept(lease.lease_id, Counts(pairs=huge, kept=huge), 10)
    with pytest.raises(ValueError, match="cannot be counted"):
        await queue.accept(lease.lease_id, Counts(), -1)


async def test_the_rates_forget_what_is_older_than_an_hour_and_a_day(queue, new_crawl, redis):
    await queue.add(new_crawl(files=10))
    seconds, _ = await redis.time()
    minute = seconds // 60
    for age, shards in ((0, 1), (58, 2), (61, 4), (1438, 8), (1441, 16)):
        at = minute - age
        await redis.hincrby(f"crawl:{{{CRAWL}}}:rate:{at // 60}", str(at), shards)
    stats = await queue.stats(CRAWL, silent_for=timedelta(0))
    assert (stats.accepted_last_hour, stats.accepted_last_day) == (3, 15)


async def test_rates_do_not_pile_up(queue, lease, manifest, redis):
    await queue.complete(lease.lease_id, "ada", manifest())
    await queue.accept(lease.lease_id, manifest().counts, 10)
    (rate,) = await redis.keys("*:rate:*")
    assert 24 * 3600 < await redis.ttl(rate) <= 26 * 3600


async def test_a_job_nobody_leased_is_known_too(queue, new_crawl):
    await queue.add(new_crawl(files=5, parts=2, seed=3))
    leased = [(await queue.lease(CRAWL, "ada", "w")).job.index for _ in range(4)]
    views = [await queue.job(JobRef(CRAWL, index)) for index in range(10) if index not in leased]
    assert {view.state for view in views} == {JobState.PENDING}
    assert sorted(view.ahead for view in views) == list(range(6))
    for view in sorted(views, key=lambda view: view.ahead):
        assert (await queue.lease(CRAWL, "ada", "w")).job == view.job
