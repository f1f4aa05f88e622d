"""Results that came when another worker's was there already."""

import asyncio

import pytest

from laion_protocol import FailureClass, JobState, LeaseLost, NotFound, Outcome

CRAWL = "CC-TEST-1"


@pytest.fixture
async def two(queue, hasty, new_crawl):
    """The leases of two workers on one job: the first ran out, the second holds it."""
    await queue.add(new_crawl())
    slow = await hasty.lease(CRAWL, "slow", "w1")
    await asyncio.sleep(0.003)
    await queue.reap(CRAWL)
    return slow, await queue.lease(CRAWL, "fast", "w2")


async def test_a_result_that_lost_to_an_accepted_one_is_kept_as_a_replica(queue, two, manifest):
    slow, fast = two
    await queue.complete(fast.lease_id, "fast", manifest())
    await queue.accept(fast.lease_id, manifest().counts, 10)
    receipt = await queue.complete(slow.lease_id, "slow", manifest(kept=4, dropped=1))
    assert (receipt.state, receipt.outcome) == (JobState.ACCEPTED, Outcome.SUPERSEDED)
    assert receipt.message == "another worker's result was accepted; yours is kept as a replica"
    view = await queue.job(slow.job)
    assert view.finished.account == "fast"
    (replica,) = view.replicas
    assert (replica.number, replica.account, replica.worker) == (1, "slow", "w1")
    assert (replica.pairs_sha256, replica.pairs, replica.kept) == ("2" * 64, 5, 4)
    assert replica.handed_in_at >= view.finished.accepted_at
    assert (await queue.credits(CRAWL)).keys() == {"fast"}


async def test_a_replica_is_kept_once_and_its_receipt_repeats(queue, two, manifest):
    slow, fast = two
    await queue.complete(fast.lease_id, "fast", manifest())
    first = await queue.complete(slow.lease_id, "slow", manifest(kept=4))
    assert (first.state, first.outcome) == (JobState.VERIFYING, Outcome.SUPERSEDED)
    assert "is being verified" in first.message
    assert await queue.complete(slow.lease_id, "slow", manifest(kept=5)) == first
    assert await queue.replicate(slow.lease_id, "slow", manifest(kept=6)) == first
    assert await queue.receipt(slow.lease_id, "slow") == first
    (replica,) = (await queue.job(slow.job)).replicas
    assert replica.kept == 4
    (submission,) = await queue.verifying(CRAWL, 10)
    assert submission.lease_id == fast.lease_id
    with pytest.raises(LeaseLost, match="another worker's result came first"):
        await queue.open_lease(slow.lease_id, "slow")
    with pytest.raises(NotFound):
        await queue.replicate(slow.lease_id, "eve", manifest())


async def test_a_replicas_worker_may_still_hand_in_when_the_other_result_was_rejected(
    queue, two, manifest
):
    slow, fast = two
    await queue.complete(fast.lease_id, "fast", manifest())
    await queue.complete(slow.lease_id, "slow", manifest())
    await queue.reject(fast.lease_id, "empty")
    await queue.open_lease(slow.lease_id, "slow")
    await queue.complete(slow.lease_id, "slow", manifest())
    assert (await queue.job(slow.job)).replicas == ()
    receipt = await queue.accept(slow.lease_id, manifest().counts, 10)
    assert (receipt.state, receipt.outcome) == (JobState.ACCEPTED, Outcome.LATE_OK)


async def test_while_another_worker_is_at_it_there_is_nothing_to_be_a_replica_of(
    queue, two, manifest
):
    slow, _ = two
    for call in (queue.complete, queue.replicate):
        with pytest.raises(LeaseLost, match="another worker has the job now"):
            await call(slow.lease_id, "slow", manifest())
    assert (await queue.job(slow.job)).replicas == ()


async def test_who_gave_the_job_up_leaves_no_replica(queue, new_crawl, manifest):
    await queue.add(new_crawl())
    gave_up = await queue.lease(CRAWL, "ada", "w")
    await queue.fail(gave_up.lease_id, "ada", FailureClass.WORKER, "disk full")
    lease = await queue.lease(CRAWL, "bob", "w")
    await queue.complete(lease.lease_id, "bob", manifest())
    await queue.accept(lease.lease_id, manifest().counts, 10)
    with pytest.raises(LeaseLost, match="was accepted"):
        await queue.complete(gave_up.lease_id, "ada", manifest())
    assert (await queue.job(lease.job)).replicas == ()


async def test_replicating_takes_nothing_in(queue, hasty, new_crawl, manifest):
    await queue.add(new_crawl())
    lease = await hasty.lease(CRAWL, "ada", "w")
    for state in (JobState.LEASED, JobState.PENDING):
        with pytest.raises(LeaseLost):
            await queue.replicate(lease.lease_id, "ada", manifest())
        assert (await queue.job(lease.job)).state is state
        await asyncio.sleep(0.003)
        await queue.reap(CRAWL)
    receipt = await queue.complete(lease.lease_id, "ada", manifest())
    assert await queue.replicate(lease.lease_id, "ada", manifest()) == receipt


async def test_replicas_go_with_the_attempts_that_made_them(queue, two, manifest, redis):
    slow, fast = two
    await queue.complete(fast.lease_id, "fast", manifest())
    await queue.complete(slow.lease_id, "slow", manifest())
    await queue.reject(fast.lease_id, "empty")
    for _ in range(39):
        lease = await queue.lease(CRAWL, "ada", "w")
        await queue.requeue([lease.job], "again")
    view = await queue.job(slow.job)
    assert (view.attempts[0].number, view.replicas) == (2, ())
    assert not [name for name in await redis.hkeys(f"crawl:{{{CRAWL}}}:job:0") if name[0] == "r"]
