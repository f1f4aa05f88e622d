"""Crawls that rest, run dry, end and go."""

import asyncio
from datetime import timedelta

import pytest

from laion_protocol import (
    Conflict,
    CrawlState,
    FailureClass,
    IdleReason,
    InvalidRequest,
    JobState,
    LeaseLost,
    NotFound,
    Outcome,
    Stage,
    Unavailable,
)
from laion_protocol.messages import Progress
from tracker.queue import JobRef, LeaseRef, keys

CRAWL = "CC-TEST-1"


async def over():
    """Wait until the leases of `hasty` have run out."""
    await asyncio.sleep(0.003)


async def state_of(queue):
    return (await queue.crawl(CRAWL)).state


async def accept_one(queue, manifest):
    lease = await queue.lease(CRAWL, "ada", "w")
    await queue.complete(lease.lease_id, "ada", manifest())
    await queue.accept(lease.lease_id, manifest().counts, 10)


async def test_a_draining_crawl_gives_no_jobs_and_is_finished_when_the_last_one_is_in(
    queue, new_crawl, manifest
):
    await queue.add(new_crawl(files=4))
    first, second = [await queue.lease(CRAWL, "ada", "w") for _ in range(2)]
    assert await queue.drain(CRAWL) is CrawlState.DRAINING
    assert await queue.lease(CRAWL, "bob", "w") is IdleReason.DRAINING
    extended = await queue.extend(first.lease_id, "ada", Progress())
    assert extended.crawl_state is CrawlState.DRAINING
    await queue.complete(first.lease_id, "ada", manifest())
    await queue.release(second.lease_id, "ada", "bye")
    assert await queue.drain(CRAWL) is CrawlState.DRAINING
    await queue.accept(first.lease_id, manifest().counts, 10)
    assert await state_of(queue) is CrawlState.FINISHED
    assert await queue.lease(CRAWL, "bob", "w") is IdleReason.NO_WORK
    assert await queue.drain(CRAWL) is CrawlState.FINISHED


@pytest.mark.parametrize("ending", ["expired", "rejected", "failed", "fetched", "requeued"])
async def test_however_the_last_lease_ends_the_drained_crawl_is_finished(
    queue, hasty, new_crawl, manifest, ending
):
    await queue.add(new_crawl(files=2))
    stages = frozenset({Stage.FETCH if ending == "fetched" else Stage.HYBRID})
    lease = await (hasty if ending == "expired" else queue).lease(CRAWL, "ada", "w", stages)
    await queue.drain(CRAWL)
    match ending:
        case "expired":
            await over()
            await queue.reap(CRAWL)
        case "rejected":
            await queue.complete(lease.lease_id, "ada", manifest())
            assert await state_of(queue) is CrawlState.DRAINING
            await queue.reject(lease.lease_id, "empty")
        case "failed":
            await queue.fail(lease.lease_id, "ada", FailureClass.JOB, "broken")
        case "fetched":
            await queue.complete(lease.lease_id, "ada", manifest(stage=Stage.FETCH))
            assert await state_of(queue) is CrawlState.DRAINING
            await queue.accept(lease.lease_id, manifest().counts, 10)
        case "requeued":
            await queue.requeue([lease.job], "enough")
    assert await state_of(queue) is CrawlState.FINISHED


async def test_a_crawl_with_nothing_open_is_drained_at_once(queue, new_crawl):
    await queue.add(new_crawl())
    assert await queue.drain(CRAWL) is CrawlState.FINISHED


async def test_a_crawl_that_is_not_draining_stays_as_it_is(queue, new_crawl, manifest):
    await queue.add(new_crawl(files=2))
    await accept_one(queue, manifest)
    assert await state_of(queue) is CrawlState.ACTIVE
    lease = await queue.lease(CRAWL, "ada", "w")
    await queue.pause(CRAWL)
    await queue.release(lease.lease_id, "ada", "bye")
    assert await state_of(queue) is CrawlState.PAUSED


async def test_a_finished_crawl_stops_its_workers_but_takes_what_they_hand_in(
    queue, hasty, new_crawl, manifest
):
    await queue.add(new_crawl(files=3))
    late = await hasty.lease(CRAWL, "cyd", "w")
    await over()
    await queue.reap(CRAWL)
    held, ready = [await queue.lease(CRAWL, "ada", "w") for _ in range(2)]
    await queue.finish(CRAWL)
    assert await queue.lease(CRAWL, "bob", "w") is IdleReason.NO_WORK
    for lease in (held, ready):
        with pytest.raises(LeaseLost, match="an admin closed the crawl"):
            await queue.extend(lease.lease_id, "ada", Progress())
    await queue.open_lease(ready.lease_id, "ada")
    await queue.complete(ready.lease_id, "ada", manifest())
    receipt = await queue.accept(ready.lease_id, manifest().counts, 10)
    assert receipt.state is JobState.ACCEPTED
    if late.job not in (held.job, ready.job):
        await queue.complete(late.lease_id, "cyd", manifest())
    assert await state_of(queue) is CrawlState.FINISHED


async def test_a_lease_that_ran_out_does_not_come_back_to_life_in_a_finished_crawl(
    queue, hasty, new_crawl, manifest
):
    await queue.add(new_crawl())
    late = await hasty.lease(CRAWL, "ada", "w")
    await over()
    await queue.reap(CRAWL)
    await queue.finish(CRAWL)
    with pytest.raises(LeaseLost, match="closed the crawl"):
        await queue.extend(late.lease_id, "ada", Progress())
    assert (await queue.job(late.job)).state is JobState.PENDING
    await queue.complete(late.lease_id, "ada", manifest())
    receipt = await queue.accept(late.lease_id, manifest().counts, 10)
    assert receipt.outcome is Outcome.LATE_OK


async def test_a_finished_crawl_may_be_resumed_but_not_paused(queue, new_crawl):
    await queue.add(new_crawl(files=2))
    lease = await queue.lease(CRAWL, "ada", "w")
    await queue.finish(CRAWL)
    with pytest.raises(Conflict, match="is finished"):
        await queue.pause(CRAWL)
    assert await queue.drain(CRAWL) is CrawlState.FINISHED
    await queue.resume(CRAWL)
    await queue.extend(lease.lease_id, "ada", Progress())
    assert (await queue.lease(CRAWL, "bob", "w")).account == "bob"


@pytest.mark.parametrize("verb", ["drain", "finish", "remove"])
async def test_what_is_done_to_a_crawl_that_does_not_exist_says_so(queue, verb):
    with pytest.raises(NotFound, match="CC-NOWHERE"):
        await getattr(queue, verb)("CC-NOWHERE")


# ── removing ─────────────────────────────────────────────────────────────────────────────────────


async def lasting(redis):
    """The crawl's keys that do not go by themselves."""
    found = await redis.keys(f"crawl:{{{CRAWL}}}:*")
    return [key for key in found if await redis.ttl(key) < 0]


async def test_a_removed_crawl_leaves_nothing_and_its_name_is_free(
    queue, new_crawl, redis, monkeypatch
):
    monkeypatch.setattr("tracker.queue.crawl_verbs._REMOVED_AT_ONCE", 2)
    await queue.add(new_crawl(name="CC-OTHER"))
    await queue.add(new_crawl(files=9))
    seen = await queue.lease(CRAWL, "ada", "w")
    await queue.release(seen.lease_id, "ada", "bye")
    for _ in range(4):
        for account in ("ada", "bob", "cyd"):
            lease = await queue.lease(CRAWL, account, "w")
            await queue.fail(lease.lease_id, account, FailureClass.JOB, "wrong base")
    assert await queue.chunk(JobRef(CRAWL, 0)) is not None
    await queue.remove(CRAWL)

    assert [crawl.name for crawl in await queue.crawls()] == ["CC-OTHER"]
    assert await lasting(redis) == []
    with pytest.raises(NotFound):
        await queue.release(seen.lease_id, "ada", "bye")
    with pytest.raises(NotFound):
        await queue.remove(CRAWL)
    assert not await queue.is_kept(seen.lease_id)

    await queue.add(new_crawl(files=1, paths=("the/right.warc.gz",)))
    (again,) = [crawl for crawl in await queue.crawls() if crawl.name == CRAWL]
    assert again.jobs == 1
    assert (await queue.chunk(JobRef(CRAWL, 0))).path == "the/right.warc.gz"
    assert (await queue.lease(CRAWL, "ada", "w")).attempt == 1


async def test_a_crawl_that_somebody_works_for_is_not_removed(queue, new_crawl, manifest):
    await queue.add(new_crawl(files=3))
    lease = await queue.lease(CRAWL, "ada", "w")
    with pytest.raises(Conflict, match=r"1 jobs of .* are leased or being verified"):
        await queue.remove(CRAWL)
    await queue.complete(lease.lease_id, "ada", manifest())
    with pytest.raises(Conflict, match="drain it first"):
        await queue.remove(CRAWL)
    await queue.accept(lease.lease_id, manifest().counts, 10)
    with pytest.raises(Conflict, match=r"1 results of .* were accepted"):
        await queue.remove(CRAWL)
    assert await queue.receipt(lease.lease_id, "ada")


async def test_a_crawl_with_an_intermediate_is_not_removed(queue, new_crawl, manifest):
    await queue.add(new_crawl())
    lease = await queue.lease(CRAWL, "ada", "w", frozenset({Stage.FETCH}))
    await queue.complete(lease.lease_id, "ada", manifest(stage=Stage.FETCH))
    await queue.accept(lease.lease_id, manifest().counts, 10)
    with pytest.raises(Conflict, match="were accepted"):
        await queue.remove(CRAWL)


async def test_a_removal_broken_off_is_finished_by_the_next_one_and_blocks_the_name_until_then(
    queue, new_crawl, redis
):
    await queue.add(new_crawl())
    lease = await queue.lease(CRAWL, "ada", "w")
    await queue.release(lease.lease_id, "ada", "bye")
    await redis.rename(keys.meta(CRAWL), f"crawl:{{{CRAWL}}}:removing")
    assert await queue.crawls() == ()
    with pytest.raises(Unavailable, match="is being removed"):
        await queue.add(new_crawl())
    await queue.remove(CRAWL)
    assert await lasting(redis) == []
    await queue.add(new_crawl())
    assert LeaseRef.parse((await queue.lease(CRAWL, "ada", "w")).lease_id).job.crawl == CRAWL


# ── a retry policy of its own ────────────────────────────────────────────────────────────────────


async def test_a_crawl_may_say_when_its_jobs_are_given_up(queue, new_crawl):
    await queue.add(new_crawl(max_attempts=1, min_accounts=1))
    lease = await queue.lease(CRAWL, "ada", "w")
    receipt = await queue.fail(lease.lease_id, "ada", FailureClass.JOB, "broken")
    assert receipt.state is JobState.DEAD


async def test_a_crawl_is_another_one_with_another_retry_policy(queue, new_crawl):
    await queue.add(new_crawl(max_attempts=4))
    await queue.add(new_crawl(max_attempts=4))
    with pytest.raises(Conflict):
        await queue.add(new_crawl(max_attempts=5))
    with pytest.raises(Conflict):
        await queue.add(new_crawl())


async def test_a_retry_policy_that_cannot_be_is_refused(queue, new_crawl):
    with pytest.raises(InvalidRequest, match="min_accounts <= max_attempts"):
        await queue.add(new_crawl(max_attempts=2, min_accounts=3))
    assert await queue.crawls() == ()


async def test_a_lease_of_a_paused_crawl_is_told_so_at_its_heartbeat(queue, new_crawl):
    await queue.add(new_crawl())
    lease = await queue.lease(CRAWL, "ada", "pc")
    await queue.pause(CRAWL)
    extended = await queue.extend(lease.lease_id, "ada", Progress())
    assert (extended.crawl_state, extended.worker) == (CrawlState.PAUSED, "pc")
    assert extended.deadline > lease.deadline - timedelta(seconds=1)
