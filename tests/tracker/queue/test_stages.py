"""Jobs that are fetched by one worker and scored by another."""

import asyncio
from datetime import timedelta

import pytest

from laion_protocol import (
    FailureClass,
    IdleReason,
    InvalidRequest,
    JobState,
    LeaseLost,
    Outcome,
    Stage,
)
from laion_protocol.events import FetchAccepted
from laion_protocol.messages import Progress
from tests.tracker.queue.conftest import RETRY
from tracker.events import EventLog
from tracker.queue import Credit, Fetched, JobQueue
from tracker.stats import Statistics

CRAWL = "CC-TEST-1"
FETCH, SCORE = frozenset({Stage.FETCH}), frozenset({Stage.SCORE})
GPU = frozenset({Stage.HYBRID, Stage.SCORE})


async def over():
    """Wait until the leases of `hasty` have run out."""
    await asyncio.sleep(0.003)


async def fetched(queue, manifest, account="cpu"):
    """The lease of a job whose intermediate is accepted."""
    lease = await queue.lease(CRAWL, account, "w", FETCH)
    assert lease.stage is Stage.FETCH
    await queue.complete(lease.lease_id, account, manifest(kept=9, stage=Stage.FETCH))
    receipt = await queue.accept(lease.lease_id, manifest(kept=9).counts, 500)
    assert (receipt.state, receipt.outcome) == (JobState.PENDING, Outcome.OK)
    return lease


async def kill(queue, lease_next):
    """Fail a job with enough accounts until it is dead."""
    for account in ("ada", "bob", "cyd"):
        lease = await lease_next(account)
        receipt = await queue.fail(lease.lease_id, account, FailureClass.JOB, "broken")
        if receipt.state is JobState.DEAD:
            return lease
    raise AssertionError("it lives on")


async def test_a_job_is_fetched_by_one_worker_and_scored_by_another(
    queue, new_crawl, manifest, redis
):
    await queue.add(new_crawl())
    intermediate = await fetched(queue, manifest)
    stats = await queue.stats(CRAWL, silent_for=timedelta(0))
    assert (stats.jobs.pending, stats.jobs.accepted) == (1, 0)
    assert (stats.scoring, stats.fetched, stats.kept) == (1, 1, 0)

    lease = await queue.lease(CRAWL, "gpu", "w", SCORE)
    assert (lease.job, lease.stage, lease.attempt) == (intermediate.job, Stage.SCORE, 2)
    told = Fetched(
        lease_id=intermediate.lease_id,
        account="cpu",
        worker="w",
        manifest=manifest(kept=9, stage=Stage.FETCH),
    )
    assert lease.fetched == told
    assert (await queue.held("gpu", "w"))[0].fetched == told
    await queue.complete(lease.lease_id, "gpu", manifest(stage=Stage.SCORE))
    submission = await queue.claim_verification(CRAWL, timedelta(minutes=1))
    assert (submission.stage, submission.fetched) == (Stage.SCORE, told)
    receipt = await queue.accept(lease.lease_id, manifest().counts, 10)
    assert (receipt.state, receipt.outcome) == (JobState.ACCEPTED, Outcome.OK)

    assert await queue.credits(CRAWL) == {
        "cpu": Credit(jobs=0, kept=0, fetched=1),
        "gpu": Credit(jobs=1, kept=3),
    }
    stats = await queue.stats(CRAWL, silent_for=timedelta(0))
    assert (stats.jobs.accepted, stats.scoring, stats.kept, stats.bytes) == (1, 0, 3, 10)
    view = await queue.job(lease.job)
    assert (view.finished.account, view.finished.fetcher) == ("gpu", "cpu")
    assert [attempt.stage for attempt in view.attempts] == [Stage.FETCH, Stage.SCORE]
    assert view.fetched is None
    job = await redis.hgetall(f"crawl:{{{CRAWL}}}:job:0")
    assert {"stage", "fetched", "manifest", "progress"}.isdisjoint(job)


async def test_a_fetchers_receipt_repeats_while_and_after_others_score(queue, new_crawl, manifest):
    await queue.add(new_crawl())
    fetch = await fetched(queue, manifest)
    sent = manifest(kept=9, stage=Stage.FETCH)
    states = []

    async def ask():
        for receipt in (
            await queue.complete(fetch.lease_id, "cpu", sent),
            await queue.accept(fetch.lease_id, sent.counts, 500),
            await queue.receipt(fetch.lease_id, "cpu"),
        ):
            assert receipt.outcome is Outcome.OK
        states.append(receipt.state)
        for call in (
            queue.extend(fetch.lease_id, "cpu", Progress()),
            queue.open_lease(fetch.lease_id, "cpu"),
            queue.reject(fetch.lease_id, "no"),
            queue.release(fetch.lease_id, "cpu", "no"),
        ):
            with pytest.raises(LeaseLost, match="handed in already"):
                await call

    await ask()
    lease = await queue.lease(CRAWL, "gpu", "w", SCORE)
    await ask()
    await queue.complete(lease.lease_id, "gpu", manifest(stage=Stage.SCORE))
    await ask()
    await queue.accept(lease.lease_id, manifest().counts, 10)
    await ask()
    assert states == [JobState.PENDING, JobState.LEASED, JobState.VERIFYING, JobState.ACCEPTED]
    assert (await queue.credits(CRAWL))["cpu"] == Credit(jobs=0, kept=0, fetched=1)
    assert (await queue.stats(CRAWL, silent_for=timedelta(0))).fetched == 1


async def test_an_accepted_intermediate_is_told(queue, new_crawl, manifest, redis):
    await queue.add(new_crawl())
    lease = await fetched(queue, manifest)
    told = [entry.event for entry in await EventLog(redis).read("0")]
    assert [type(event) for event in told[1:]] == [FetchAccepted]
    event = told[1]
    assert (event.job, event.account, event.worker) == (str(lease.job), "cpu", "w")
    assert (event.kept, event.pairs) == (9, 11)


async def test_page_and_leaderboard_tell_of_intermediates(queue, new_crawl, manifest, redis):
    await queue.add(new_crawl(files=5))
    for account in ("amy", "bob", "bob"):
        await fetched(queue, manifest, account)
    statistics = Statistics(redis, queue, silent_for=timedelta(minutes=2))
    (crawl,) = await statistics.crawls()
    assert (crawl.scoring, crawl.jobs.pending) == (3, 5)
    board = await statistics.leaderboard()
    assert [(row.account, row.fetched, row.kept) for row in board.rows] == [
        ("bob", 2, 0),
        ("amy", 1, 0),
    ]


async def test_each_worker_gets_only_what_it_can_do(queue, new_crawl, manifest):
    await queue.add(new_crawl(files=2))
    assert await queue.lease(CRAWL, "gpu", "w", SCORE) is IdleReason.NO_WORK
    first = await fetched(queue, manifest)
    both = await queue.lease(CRAWL, "any", "w", FETCH | GPU)
    assert (both.stage, both.job != first.job) == (Stage.HYBRID, True)
    assert await queue.lease(CRAWL, "cpu", "w2", FETCH) is IdleReason.NO_WORK
    assert await queue.lease(CRAWL, "old", "w") is IdleReason.NO_WORK
    assert (await queue.lease(CRAWL, "gpu", "w", GPU)).job == first.job


async def test_intermediates_come_last_until_too_many_wait(redis, new_crawl, manifest):
    queue = JobQueue(redis, score_backlog=1)
    await queue.add(new_crawl(files=6))
    waiting = [await fetched(queue, manifest)]
    assert (await queue.lease(CRAWL, "gpu", "w", GPU)).stage is Stage.HYBRID
    waiting.append(await fetched(queue, manifest))
    leases = [await queue.lease(CRAWL, "gpu", "w", GPU) for _ in range(4)]
    assert [lease.stage for lease in leases] == [Stage.SCORE, *[Stage.HYBRID] * 3]
    last = await queue.lease(CRAWL, "gpu", "w", GPU)
    assert {leases[0].job, last.job} == {lease.job for lease in waiting}


@pytest.mark.parametrize("ending", ["released", "failed", "invalid", "expired", "superseded"])
async def test_a_score_lease_that_ends_without_a_shard_leaves_its_intermediate_to_the_next(
    queue, hasty, new_crawl, manifest, ending
):
    await queue.add(new_crawl())
    fetch = await fetched(queue, manifest)
    lease = await (hasty if ending == "expired" else queue).lease(CRAWL, "gpu", "w", SCORE)
    match ending:
        case "released":
            await queue.release(lease.lease_id, "gpu", "bye")
        case "failed":
            await queue.fail(lease.lease_id, "gpu", FailureClass.WORKER, "no memory")
        case "invalid":
            await queue.complete(lease.lease_id, "gpu", manifest(stage=Stage.SCORE))
            await queue.reject(lease.lease_id, "wrong")
        case "superseded":
            await queue.requeue([lease.job], "stuck")
        case "expired":
            await over()
            await queue.reap(CRAWL)
    view = await queue.job(lease.job)
    assert (view.state, view.attempts[-1].outcome) == (JobState.PENDING, ending)
    assert view.not_before is not None
    assert await queue.is_kept(fetch.lease_id)
    assert await queue.lease(CRAWL, "old", "w") is IdleReason.NO_WORK
    again = await queue.lease(CRAWL, "bob", "w", SCORE)
    assert (again.job, again.fetched.lease_id) == (lease.job, fetch.lease_id)


async def test_scoring_has_attempts_of_its_own(queue, new_crawl, manifest):
    await queue.add(new_crawl())
    for account in ("ada", "bob"):  # one more would kill it
        lease = await queue.lease(CRAWL, account, "w", FETCH)
        await queue.fail(lease.lease_id, account, FailureClass.JOB, "cut off")
    await fetched(queue, manifest)
    for account in ("ada", "bob"):
        lease = await queue.lease(CRAWL, account, "w", SCORE)
        receipt = await queue.fail(lease.lease_id, account, FailureClass.JOB, "cannot decode")
        assert receipt.state is JobState.PENDING
    lease = await queue.lease(CRAWL, "cyd", "w", SCORE)
    receipt = await queue.fail(lease.lease_id, "cyd", FailureClass.JOB, "cannot decode")
    assert receipt.state is JobState.DEAD


async def test_who_fetched_a_job_after_failing_it_may_score_it(queue, new_crawl, manifest):
    await queue.add(new_crawl(files=2))
    failed = await queue.lease(CRAWL, "ada", "w", FETCH)
    await queue.fail(failed.lease_id, "ada", FailureClass.JOB, "cut off")
    other, mine = [await queue.lease(CRAWL, "ada", "w", FETCH) for _ in range(2)]
    assert mine.job == failed.job
    for lease in (mine, other):
        await queue.complete(lease.lease_id, "ada", manifest(stage=Stage.FETCH))
        await queue.accept(lease.lease_id, manifest().counts, 10)
        await over()
    assert (await queue.lease(CRAWL, "ada", "w", SCORE)).job == mine.job


async def test_a_dead_job_whose_intermediate_nobody_can_score_is_fetched_anew(
    queue, new_crawl, manifest
):
    await queue.add(new_crawl())
    bad = await fetched(queue, manifest)
    old = await kill(queue, lambda account: queue.lease(CRAWL, account, "w", SCORE))
    assert await queue.is_kept(bad.lease_id)
    await queue.requeue([old.job], "try again")
    assert not await queue.is_kept(bad.lease_id)
    assert await queue.lease(CRAWL, "gpu", "w", SCORE) is IdleReason.NO_WORK
    good = await fetched(queue, manifest)
    assert good.job == bad.job
    assert (await queue.lease(CRAWL, "gpu", "w", SCORE)).fetched.lease_id == good.lease_id


async def test_a_shard_scored_from_an_intermediate_given_up_since_is_not_taken(
    queue, hasty, new_crawl, manifest
):
    await queue.add(new_crawl())
    await fetched(queue, manifest)
    late = await hasty.lease(CRAWL, "late", "w", SCORE)
    await over()
    await queue.reap(CRAWL)
    await kill(queue, lambda account: queue.lease(CRAWL, account, "w", SCORE))
    assert (await queue.open_lease(late.lease_id, "late")).fetched == late.fetched
    await queue.requeue([late.job], "fetch it again")
    for _ in range(2):
        for call in (
            queue.open_lease(late.lease_id, "late"),
            queue.complete(late.lease_id, "late", manifest(stage=Stage.SCORE)),
            queue.extend(late.lease_id, "late", Progress()),
        ):
            with pytest.raises(LeaseLost):
                await call
        if (await queue.job(late.job)).fetched is None:
            await fetched(queue, manifest)


async def test_a_late_intermediate_is_taken_while_there_is_none_and_then_no_more(
    queue, hasty, new_crawl, manifest
):
    await queue.add(new_crawl())
    late = await hasty.lease(CRAWL, "late", "w", FETCH)
    later = await hasty_second(hasty, queue)
    await queue.complete(late.lease_id, "late", manifest(kept=9, stage=Stage.FETCH))
    receipt = await queue.accept(late.lease_id, manifest(kept=9).counts, 10)
    assert (receipt.state, receipt.outcome) == (JobState.PENDING, Outcome.LATE_OK)
    for call in (queue.extend(later.lease_id, "later", Progress()),
                 queue.open_lease(later.lease_id, "later")):  # fmt: skip
        with pytest.raises(LeaseLost, match="intermediate of the job was accepted"):
            await call
    receipt = await queue.complete(later.lease_id, "later", manifest(stage=Stage.FETCH))
    assert (receipt.state, receipt.outcome) == (JobState.PENDING, Outcome.SUPERSEDED)
    assert (await queue.job(late.job)).fetched.account == "late"


async def hasty_second(hasty, queue):
    """Another fetch lease of the job, after the first one ran out; over as well."""
    await over()
    await queue.reap(CRAWL)
    lease = await hasty.lease(CRAWL, "later", "w", FETCH)
    await over()
    await queue.reap(CRAWL)
    return lease


async def test_a_late_shard_of_a_whole_job_is_taken_although_an_intermediate_waits(
    queue, hasty, new_crawl, manifest
):
    await queue.add(new_crawl())
    whole = await hasty.lease(CRAWL, "slow", "w")
    await over()
    await queue.reap(CRAWL)
    fetch = await fetched(queue, manifest)
    await queue.complete(whole.lease_id, "slow", manifest())
    assert (await queue.stats(CRAWL, silent_for=timedelta(0))).scoring == 0
    receipt = await queue.reject(whole.lease_id, "wrong")  # the intermediate is as good as before
    assert receipt.state is JobState.PENDING
    again = await queue.lease(CRAWL, "gpu", "w", SCORE)
    assert again.fetched.lease_id == fetch.lease_id


async def test_a_manifest_of_another_stage_is_refused(queue, new_crawl, manifest):
    await queue.add(new_crawl(files=2))
    fetch = await queue.lease(CRAWL, "cpu", "w", FETCH)
    with pytest.raises(InvalidRequest, match="the lease is for fetch"):
        await queue.complete(fetch.lease_id, "cpu", manifest())
    hybrid = await queue.lease(CRAWL, "gpu", "w")
    with pytest.raises(InvalidRequest, match="the lease is for hybrid"):
        await queue.complete(hybrid.lease_id, "gpu", manifest(stage=Stage.SCORE))
    assert {job.state for job in (await queue.job(fetch.job), await queue.job(hybrid.job))} == {
        JobState.LEASED
    }


async def test_what_is_uploaded_is_kept_as_long_as_somebody_needs_it(
    queue, hasty, new_crawl, manifest
):
    await queue.add(new_crawl())
    failed = await queue.lease(CRAWL, "ada", "w", FETCH)
    assert await queue.is_kept(failed.lease_id)
    await queue.fail(failed.lease_id, "ada", FailureClass.JOB, "cut off")
    assert not await queue.is_kept(failed.lease_id)
    expired = await hasty.lease(CRAWL, "bob", "w", FETCH)
    await over()
    await queue.reap(CRAWL)
    assert await queue.is_kept(expired.lease_id)  # it may come late
    fetch = await queue.lease(CRAWL, "cpu", "w", FETCH)
    assert not await queue.is_kept(expired.lease_id)
    await queue.complete(fetch.lease_id, "cpu", manifest(stage=Stage.FETCH))
    assert await queue.is_kept(fetch.lease_id)
    await queue.accept(fetch.lease_id, manifest().counts, 10)
    score = await queue.lease(CRAWL, "gpu", "w", SCORE)
    await queue.complete(score.lease_id, "gpu", manifest(stage=Stage.SCORE))
    assert [await queue.is_kept(lease.lease_id) for lease in (fetch, score)] == [True, True]
    await queue.accept(score.lease_id, manifest().counts, 10)
    assert [await queue.is_kept(lease.lease_id) for lease in (fetch, score)] == [False, True]
    assert not await queue.is_kept(expired.lease_id)
    for nobodys in ("CC-GONE~0~" + "0" * 32, f"{CRAWL}~7~" + "0" * 32, f"{CRAWL}~0~" + "0" * 32):
        assert not await queue.is_kept(nobodys)


async def test_scoring_waits_after_a_failure_as_any_job_does(redis, new_crawl, manifest):
    queue = JobQueue(redis, retry=RETRY.changed(None, None))
    patient = JobQueue(redis)
    await patient.add(new_crawl())
    await fetched(queue, manifest)
    lease = await queue.lease(CRAWL, "gpu", "w", SCORE)
    await queue.fail(lease.lease_id, "gpu", FailureClass.WORKER, "no memory")
    assert await queue.lease(CRAWL, "bob", "w", SCORE) is IdleReason.NO_WORK
    view = await queue.job(lease.job)
    assert view.not_before > view.attempts[-1].ended_at + timedelta(seconds=10)
