"""Which leases may still bring what they are at work on, however a lease may end."""

import pytest

from laion_protocol import FailureClass, Stage

CRAWL = "CC-TEST-1"
NOBODY = f"{CRAWL}~0~{'0' * 32}"


@pytest.fixture
async def lease(queue, new_crawl):
    await queue.add(new_crawl())
    return await queue.lease(CRAWL, "ada", "w")


async def is_live(queue, lease) -> bool:
    return lease.lease_id in await queue.live([lease.lease_id])


async def test_a_lease_is_live_while_it_is_held_and_checked(queue, lease, manifest):
    assert await queue.live([NOBODY, lease.lease_id, f"gone~1~{'0' * 32}"]) == {lease.lease_id}
    await queue.complete(lease.lease_id, "ada", manifest())
    assert await is_live(queue, lease)
    await queue.accept(lease.lease_id, manifest().counts, 10)
    assert not await is_live(queue, lease)


@pytest.mark.parametrize("end", ["release", "fail", "reject", "cancel", "requeue"])
async def test_a_lease_that_ended_is_not(queue, lease, manifest, end):
    if end == "release":
        await queue.release(lease.lease_id, "ada", "x")
    elif end == "fail":
        await queue.fail(lease.lease_id, "ada", FailureClass.JOB, "x")
    elif end == "reject":
        await queue.complete(lease.lease_id, "ada", manifest())
        await queue.reject(lease.lease_id, "x")
    elif end == "cancel":
        await queue.cancel("ada", None, "x")
    else:
        await queue.requeue([lease.job], "x")
    assert not await is_live(queue, lease)
    again = await queue.lease(CRAWL, "bob", "w")
    assert await queue.live([lease.lease_id, again.lease_id]) == {again.lease_id}


async def test_nor_is_one_that_ran_out(queue, hasty, new_crawl):
    await queue.add(new_crawl())
    lease = await hasty.lease(CRAWL, "ada", "w")
    while not await hasty.reap(CRAWL):
        pass
    assert not await is_live(queue, lease)


async def test_what_fetched_an_intermediate_is_live_until_it_is_scored(queue, new_crawl, manifest):
    await queue.add(new_crawl())
    fetch = await queue.lease(CRAWL, "ada", "w", frozenset({Stage.FETCH}))
    await queue.complete(fetch.lease_id, "ada", manifest(stage=Stage.FETCH))
    await queue.accept(fetch.lease_id, manifest().counts, 10)
    assert await is_live(queue, fetch)
    score = await queue.lease(CRAWL, "bob", "w", frozenset({Stage.SCORE}))
    assert await queue.live([fetch.lease_id, score.lease_id]) == {fetch.lease_id, score.lease_id}
    await queue.complete(score.lease_id, "bob", manifest(stage=Stage.SCORE))
    await queue.accept(score.lease_id, manifest().counts, 10)
    assert await queue.live([fetch.lease_id, score.lease_id]) == set()


async def test_more_leases_than_one_script_takes_are_looked_at(queue, new_crawl):
    await queue.add(new_crawl(files=300))
    leases = [(await queue.lease(CRAWL, f"a{n % 3}", f"w{n}")).lease_id for n in range(30)]
    strangers = [f"{CRAWL}~{n}~{'0' * 32}" for n in range(300)]
    assert await queue.live([*strangers, *leases]) == set(leases)
