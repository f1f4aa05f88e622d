"""An action of an admin is taken back where nobody has touched the job since, and only there."""

import asyncio
import json
import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from laion_protocol import FailureClass, JobState, LeaseLost, NotFound, Stage
from laion_protocol.messages import Progress
from tracker.books import Books
from tracker.queue import HeldLease, JobRef
from tracker.queue.undo import Action, Actions

CRAWL = "CC-TEST-1"
ACTION = "0123456789abcdef"


@pytest.fixture
def actions(redis):
    return Actions(redis)


@pytest.fixture
def requeue(queue, actions):
    """Takes jobs back as action `id`."""

    async def requeue(*jobs, id=ACTION, crawls=(CRAWL,)):
        await actions.open(
            Action(
                id=id,
                time=datetime.now(UTC),
                actor="root",
                via="",
                verb="requeue",
                reason="stuck",
                crawls=crawls,
            )
        )
        return await queue.requeue(jobs, "stuck", action=id)

    return requeue


async def dead(queue):
    for account in ("ada", "bob", "ada"):
        lease = await queue.lease(CRAWL, account, "w")
        await queue.fail(lease.lease_id, account, FailureClass.JOB, "broken")
        await asyncio.sleep(0.002)
    assert (await queue.job(lease.job)).state is JobState.DEAD
    return lease


async def counts(queue):
    return (await queue.stats(CRAWL, silent_for=timedelta(0))).jobs


async def everything(redis):
    """All that Redis holds of the crawl, but for its feed and the action itself."""
    state = {}
    for key in await redis.keys(f"crawl:{{{CRAWL}}}:*"):
        name = key.split("}:")[1]
        if name.split(":")[0] in ("events", "action", "undone", "call"):
            continue
        kind = await redis.type(key)
        if kind in ("zset", "list"):
            read = redis.zrange if kind == "zset" else redis.lrange
            state[name] = await read(key, 0, -1, **{"withscores": True} if kind == "zset" else {})
        else:
            state[name] = await {"hash": redis.hgetall, "set": redis.smembers}[kind](key)
        if name.startswith("job:"):  # Lua's JSON has no order
            job = state[name]
            job |= {field: json.loads(job[field]) for field in job if field.startswith("a:")}
    return state


async def test_a_job_taken_away_is_leased_again_under_the_same_lease(
    queue, actions, requeue, new_crawl, redis, manifest
):
    await queue.add(new_crawl(files=3))
    lease = await queue.lease(CRAWL, "ada", "w")
    await queue.fail(lease.lease_id, "ada", FailureClass.SERVER, "x")
    lease = await queue.lease(CRAWL, "bob", "w")
    await queue.extend(lease.lease_id, "bob", Progress(pairs=5))
    before, held = await everything(redis), await queue.held("bob", "w")
    assert await requeue(lease.job) == {lease.job: "requeued"}
    with pytest.raises(LeaseLost):
        await queue.extend(lease.lease_id, "bob", Progress())

    assert await actions.undo(ACTION, dry_run=True) == {lease.job: "undone"}
    assert await queue.held("bob", "w") == ()
    assert await actions.undo(ACTION) == {lease.job: "undone"}
    [now] = await queue.held("bob", "w")
    assert (
        timedelta(0) <= now.deadline - held[0].deadline < timedelta(seconds=5)
    )  # time stood still
    after = await everything(redis)
    assert {**after, "leases": ""} == {**before, "leases": ""}

    assert await actions.undo(ACTION) == {lease.job: "undone"}  # its answer may have been lost
    assert await everything(redis) == after
    await queue.extend(lease.lease_id, "bob", Progress())
    await queue.complete(lease.lease_id, "bob", manifest())
    assert await actions.undo(ACTION) == {lease.job: "undone"}
    assert (await queue.job(lease.job)).state is JobState.VERIFYING


async def test_a_dead_job_that_was_brought_back_is_dead_again(
    queue, actions, requeue, new_crawl, redis
):
    await queue.add(new_crawl(files=2))
    job = (await dead(queue)).job
    before = await everything(redis)
    assert await requeue(job) == {job: "requeued"}
    assert (await counts(queue)).dead == 0
    assert await actions.undo(ACTION) == {job: "undone"}
    assert await everything(redis) == before


async def test_a_job_that_died_twice_has_had_no_more_attempts_than_before(
    queue, actions, requeue, new_crawl, redis
):
    await queue.add(new_crawl())
    job = (await dead(queue)).job
    await requeue(job, id=ACTION[::-1])
    assert (await dead(queue)).job == job
    before = await everything(redis)
    await requeue(job)
    await actions.undo(ACTION)
    assert await everything(redis) == before
    assert await actions.undo(ACTION[::-1]) == {job: "taken"}


async def test_a_dead_job_keeps_its_intermediate_when_it_is_dead_again(
    queue, actions, requeue, new_crawl, redis, manifest
):
    """A late score of it may still come."""
    await queue.add(new_crawl())
    lease = await queue.lease(CRAWL, "ada", "w", frozenset({Stage.FETCH}))
    fetched = manifest().model_copy(update={"stage": Stage.FETCH, "model_sha256": None})
    await queue.complete(lease.lease_id, "ada", fetched)
    await queue.accept(lease.lease_id, fetched.counts, 10)
    for account in ("ada", "bob", "ada"):
        score = await queue.lease(CRAWL, account, "w", frozenset({Stage.SCORE}))
        await queue.fail(score.lease_id, account, FailureClass.JOB, "broken")
        await asyncio.sleep(0.002)
    assert (await counts(queue)).dead == 1
    before = await everything(redis)
    await requeue(lease.job)
    assert await queue.lease(CRAWL, "cyd", "w", frozenset({Stage.SCORE})) == "no_work"
    await actions.undo(ACTION)
    assert await everything(redis) == before


async def test_a_lease_to_score_is_given_back_too(
    queue, actions, requeue, new_crawl, redis, manifest
):
    await queue.add(new_crawl())
    lease = await queue.lease(CRAWL, "ada", "w", frozenset({Stage.FETCH}))
    fetched = manifest().model_copy(update={"stage": Stage.FETCH, "model_sha256": None})
    await queue.complete(lease.lease_id, "ada", fetched)
    await queue.accept(lease.lease_id, fetched.counts, 10)
    await queue.lease(CRAWL, "bob", "w", frozenset({Stage.SCORE}))
    before = await everything(redis)
    await requeue(lease.job)
    await actions.undo(ACTION)
    after = await everything(redis)
    assert {**after, "leases": ""} == {**before, "leases": ""}


async def test_what_others_touched_since_stays_as_it_is(
    queue, actions, requeue, new_crawl, manifest, redis
):
    await queue.add(new_crawl(files=6))
    leases = [await queue.lease(CRAWL, "ada", "w") for _ in range(6)]
    await requeue(*[lease.job for lease in leases])
    got = {}
    for _ in range(3):
        lease = await queue.lease(CRAWL, "bob", "w")
        got[lease.job] = lease
    first, second, third = got.values()
    await queue.fail(second.lease_id, "bob", FailureClass.NETWORK, "x")
    await queue.complete(third.lease_id, "bob", manifest())
    left = [lease for lease in leases if lease.job not in got]
    for lease in left[:2]:
        await queue.complete(lease.lease_id, "ada", manifest())  # late, and welcome
    await queue.accept(left[1].lease_id, manifest().counts, 10)
    before = await everything(redis)
    told = await actions.undo(ACTION, dry_run=True)
    assert await everything(redis) == before
    assert (
        await actions.undo(ACTION)
        == told
        == {
            first.job: "taken",
            second.job: "taken",
            third.job: "handed_in",
            left[0].job: "handed_in",
            left[1].job: "handed_in",
            left[2].job: "undone",
        }
    )
    assert [lease.job for lease in await queue.held("ada", "w")] == [left[2].job]


async def test_a_job_that_another_action_took_since_is_not_undone_twice(
    queue, actions, requeue, new_crawl
):
    await queue.add(new_crawl())
    lease = await queue.lease(CRAWL, "ada", "w")
    await requeue(lease.job)
    await actions.undo(ACTION)
    other = ACTION[::-1]
    assert await requeue(lease.job, id=other) == {lease.job: "requeued"}
    assert await actions.undo(ACTION) == {lease.job: "undone"}  # says so, does nothing more
    assert await queue.held("ada", "w") == ()
    await actions.undo(other)
    assert len(await queue.held("ada", "w")) == 1


async def test_a_lease_of_a_crawl_that_has_run_dry_stays_lost(queue, actions, requeue, new_crawl):
    await queue.add(new_crawl())
    lease = await queue.lease(CRAWL, "ada", "w")
    await queue.drain(CRAWL)
    await requeue(lease.job)
    assert await actions.undo(ACTION) == {lease.job: "changed"}


async def test_an_action_is_listed_with_what_it_did_and_forgotten_after_a_day(
    queue, actions, requeue, new_crawl, redis
):
    await queue.add(new_crawl(files=3))
    leases = [await queue.lease(CRAWL, "ada", "w") for _ in range(2)]
    await requeue(*[lease.job for lease in leases], JobRef(CRAWL, 99))
    await queue.lease(CRAWL, "bob", "w")
    await actions.undo(ACTION)
    await requeue(JobRef(CRAWL, 98), id=ACTION[::-1])  # which changed nothing
    [row] = await actions.rows()
    assert (row.id, row.actor, row.reason, row.changed, row.undone) == (
        ACTION, "root", "stuck", 2, 1,
    )  # fmt: skip
    assert row.expires - row.time == timedelta(days=1)
    for key in await redis.keys("*action*") + await redis.keys("*undone*"):
        if not key.endswith(":ids"):
            assert 86_300 < await redis.ttl(key) <= 86_400, key
    await redis.delete(f"{{actions}}:{ACTION}")
    assert await actions.rows() == ()
    with pytest.raises(NotFound, match="for a day"):
        await actions.undo(ACTION)


async def test_many_jobs_are_undone_in_slices(queue, actions, requeue, new_crawl, monkeypatch):
    monkeypatch.setattr("tracker.queue.undo._AT_ONCE", 3)
    await queue.add(new_crawl(files=10))
    jobs = [(await queue.lease(CRAWL, "ada", "w")).job for _ in range(10)]
    await requeue(*jobs, crawls=(CRAWL, "CC-GONE"))
    assert await actions.undo(ACTION) == dict.fromkeys(
        sorted(jobs, key=lambda job: job.index), "undone"
    )
    assert len(await queue.held("ada", "w")) == 10


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happened_before_an_undo_brings_it_back(
    queue, hasty, actions, requeue, new_crawl, manifest, redis, seed
):
    """A random history; then all jobs are taken back at once, and given back."""
    chance = random.Random(seed)
    await queue.add(new_crawl(files=4, parts=2))
    leases = []
    for _ in range(60):
        account = chance.choice(["ada", "bob", "cyd"])
        stages = chance.choice([{Stage.HYBRID, Stage.SCORE}, {Stage.FETCH}, {Stage.SCORE}])
        verb = chance.choice(["lease", "lease", "expire", "fail", "release", "beat", "hand in"])
        with suppress(LeaseLost):
            if verb in ("lease", "expire"):
                giver = queue if verb == "lease" else hasty
                lease = await giver.lease(CRAWL, account, "w", frozenset(stages))
                if isinstance(lease, HeldLease):
                    leases.append(lease)
                if verb == "expire":
                    await asyncio.sleep(0.002)
                    await queue.reap(CRAWL)
            elif leases:
                lease = chance.choice(leases)
                who = (lease.lease_id, lease.account)
                if verb == "fail":
                    await queue.fail(*who, chance.choice(list(FailureClass)), "x")
                elif verb == "release":
                    await queue.release(*who, "x")
                elif verb == "beat":
                    await queue.extend(*who, Progress(pairs=chance.randrange(9)))
                else:
                    shard = manifest()
                    if lease.stage is Stage.FETCH:
                        shard = shard.model_copy(
                            update={"stage": Stage.FETCH, "model_sha256": None}
                        )
                    await queue.complete(*who, shard)
                    if chance.random() < 0.7:
                        await queue.accept(lease.lease_id, shard.counts, 10)
    before = await everything(redis)
    jobs = [JobRef(CRAWL, index) for index in range(8)]
    taken = await requeue(*jobs)
    assert not (await Books(redis).check(CRAWL)).examples
    undone = await actions.undo(ACTION)
    assert set(undone) == {job for job, said in taken.items() if said == "requeued"}
    assert set(undone.values()) <= {"undone"}
    assert not (await Books(redis).check(CRAWL)).examples
    after = await everything(redis)
    for state in (before, after):
        state["leases"] = [job for job, _ in state.get("leases", [])]
        state["leases"].sort()
    assert after == before
