"""What is written against a worker, and when it is wiped out."""

from datetime import timedelta

import pytest

from laion_protocol import Counts, FailureClass, Outcome
from laion_protocol.messages import Progress
from tracker.queue import Failures

CRAWL = "CC-TEST-1"


@pytest.fixture
def against(redis):
    """The outcomes that speak against a worker of `ann`, or with None against all of them."""

    async def against(worker="pc", account="ann"):
        found = await Failures(redis).of([CRAWL, "another"], account, worker or "pc")
        return [failure.outcome for failure in found[worker is None]]

    return against


async def reaped(queue):
    while not await queue.reap(CRAWL):
        pass


async def test_only_what_is_the_workers_fault_is_written_down(
    queue, hasty, new_crawl, manifest, against
):
    await queue.add(new_crawl(files=20))

    for fault in FailureClass:
        held = await queue.lease(CRAWL, "ann", "pc")
        await queue.fail(held.lease_id, "ann", fault, "")
    assert await against() == [Outcome.FAILED]  # of the class `worker`
    held = await queue.lease(CRAWL, "ann", "pc")
    await queue.release(held.lease_id, "ann", "")
    held = await queue.lease(CRAWL, "ann", "pc")
    await queue.requeue([held.job], "an admin's whim")
    assert await against() == [Outcome.FAILED]

    held = await queue.lease(CRAWL, "ann", "pc")
    await queue.complete(held.lease_id, "ann", manifest())
    await queue.reject(held.lease_id, "rubbish")
    await hasty.lease(CRAWL, "ann", "pc")
    await reaped(hasty)
    assert await against() == [Outcome.FAILED, Outcome.INVALID, Outcome.EXPIRED]
    assert await against("laptop") == await against(account="bob") == []


async def test_an_accepted_result_wipes_it_all_out(queue, new_crawl, manifest, against):
    await queue.add(new_crawl(files=20))
    held = await queue.lease(CRAWL, "ann", "pc")
    await queue.fail(held.lease_id, "ann", FailureClass.WORKER, "")
    held = await queue.lease(CRAWL, "ann", "pc")
    await queue.complete(held.lease_id, "ann", manifest())
    assert len(await against()) == 1
    other = await queue.lease(CRAWL, "ann", "laptop")
    await queue.fail(other.lease_id, "ann", FailureClass.WORKER, "")
    assert len(await against(None)) == 2
    await queue.accept(held.lease_id, Counts(pairs=1, kept=1, drops={}), 1)
    assert await against() == await against(None) == []
    assert len(await against("laptop")) == 1


async def test_a_lease_that_comes_back_to_life_never_expired(queue, hasty, new_crawl, against):
    await queue.add(new_crawl(files=20))
    other = await queue.lease(CRAWL, "ann", "pc")
    await queue.fail(other.lease_id, "ann", FailureClass.WORKER, "")
    held = await hasty.lease(CRAWL, "ann", "pc")
    await reaped(hasty)
    assert await against() == [Outcome.FAILED, Outcome.EXPIRED]
    await queue.extend(held.lease_id, "ann", Progress())
    assert await against() == await against(None) == [Outcome.FAILED]


async def test_the_last_twenty_are_kept_for_a_day(redis, queue, new_crawl, against):
    await queue.add(new_crawl(files=30))
    for _ in range(25):
        held = await queue.lease(CRAWL, "ann", "pc")
        await queue.fail(held.lease_id, "ann", FailureClass.WORKER, "")
    assert (len(await against()), len(await against(None))) == (20, 25)
    for key in await redis.keys("*failures*"):
        assert 0 < await redis.ttl(key) <= timedelta(days=1).total_seconds()


async def test_an_admin_can_forgive(redis, queue, new_crawl, against):
    await queue.add(new_crawl(files=20))
    for worker in ("pc", "laptop"):
        held = await queue.lease(CRAWL, "ann", worker)
        await queue.fail(held.lease_id, "ann", FailureClass.WORKER, "")
    await Failures(redis).forgive([CRAWL, "another"], "ann", ["pc"])
    assert (await against("pc"), await against("laptop")) == ([], [Outcome.FAILED])
    assert await against(None) == []


async def test_of_an_account_they_are_told_with_the_worker_of_each(redis, queue, new_crawl):
    await queue.add(new_crawl(files=20))
    for worker in ("pc", "laptop"):
        held = await queue.lease(CRAWL, "ann", worker)
        await queue.fail(held.lease_id, "ann", FailureClass.WORKER, "")
    [own], both = await Failures(redis).of([CRAWL], "ann", "laptop")
    assert [failure.worker for failure in both] == ["pc", "laptop"]
    assert own == both[1]


async def test_failures_know_when_their_lease_began_and_ended(redis, queue, new_crawl):
    await queue.add(new_crawl(files=20))
    held = await queue.lease(CRAWL, "ann", "pc")
    await queue.fail(held.lease_id, "ann", FailureClass.WORKER, "")
    [failure], _ = await Failures(redis).of([CRAWL], "ann", "pc")
    [attempt] = (await queue.job(held.job)).attempts
    assert (failure.leased_at, failure.ended_at) == (attempt.leased_at, attempt.ended_at)
