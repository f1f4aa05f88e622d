"""The books: they balance whatever happens, and what is broken by hand is found and put right."""

import asyncio
import json
import os
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from laion_protocol import Counts, FailureClass, IdleReason, Stage
from laion_protocol.messages import NewCrawl
from tests.tracker.queue.test_model import CRAWL, QueueMachine, manifest_of
from tests.tracker.running import RECIPE, until
from tests.tracker.test_backup import command, contents
from tracker.books import Books
from tracker.queue import HeldLease, JobQueue, JobRef, RetryPolicy

K = "crawl:{A}:"
ANY = frozenset({Stage.HYBRID, Stage.SCORE})


class BooksMachine(QueueMachine):
    """All verbs in any order, and after each the books balance."""

    @invariant()
    def balanced(self):
        if self.jobs:
            balance = self.run(Books(self.redis).check(CRAWL))
            assert not balance.found, balance.examples


def test_the_books_balance_after_any_verbs(redis_url):
    BooksMachine.redis_url = redis_url
    checks = list(HealthCheck)
    run_state_machine_as_test(
        BooksMachine,
        settings=settings(max_examples=6, stateful_step_count=30, suppress_health_check=checks),
    )


@pytest.fixture
async def queue(redis):
    """Ten jobs, one or two in each state: see `jobs`."""
    policy = RetryPolicy(max_attempts=1, min_accounts=1, delay=timedelta(0), max_delay=timedelta(0))
    queue = JobQueue(redis, lease_duration=timedelta(hours=1), max_held=100, retry=policy)
    await queue.add(NewCrawl(name="A", base="/x", paths=("a",), parts=12, recipe=RECIPE, seed=1))
    return queue


@pytest.fixture
async def jobs(queue):
    """The name of a state -> the index of a job in it."""

    async def lease(account="ann", stages=ANY):
        held = await queue.lease("A", account, "pc", stages)
        assert isinstance(held, HeldLease)
        return held

    async def hand_in(held, stage=Stage.HYBRID, accept=True):
        await queue.complete(held.lease_id, held.account, manifest_of(3, stage))
        if accept:
            await queue.accept(held.lease_id, Counts(pairs=3, kept=3), 10)
        return held.job.index

    found = {}
    found["finished"] = await hand_in(await lease())
    first = await lease()
    await queue.release(first.lease_id, "ann", "no")
    again = await lease("bob")
    assert again.job == first.job
    found["finished twice leased"] = await hand_in(again)
    found["score"] = await hand_in(await lease(stages=frozenset({Stage.FETCH})), Stage.FETCH)
    found["leased"] = (await lease("cyd", frozenset({Stage.HYBRID}))).job.index
    found["verifying"] = await hand_in(await lease(stages=frozenset({Stage.HYBRID})), accept=False)
    failed = await lease("bob", frozenset({Stage.HYBRID}))
    await queue.fail(failed.lease_id, "bob", FailureClass.JOB, "broken")
    found["dead"] = failed.job.index
    released = await lease("eve", frozenset({Stage.HYBRID}))
    await queue.release(released.lease_id, "eve", "no")
    found["retry"] = released.job.index
    found["fresh"] = next(index for index in range(12) if index not in found.values())
    return found


async def test_a_crawl_with_a_job_in_each_state_balances(redis, queue, jobs):
    balance = await Books(redis).check("A")
    assert (balance.found, balance.jobs) == ({}, 7)


# what is done by hand, to which job; what is found
BROKEN = {
    "a lease without deadline": (lambda j: [("ZREM", K + "leases", j["leased"])], "not_in_leases"),
    "a lease without beat": (lambda j: [("ZREM", K + "beats", j["leased"])], "not_in_beats"),
    "a lease that no worker holds": (
        lambda j: [("SREM", K + "held:cyd/pc", j["leased"])], "not_held"),
    "a lease that no account holds": (
        lambda j: [("SREM", K + "held:cyd", j["leased"])], "not_held"),
    "a lease without attempt": (
        lambda j: [("HDEL", f"{K}job:{j['leased']}", "a:1")], "without_holder"),
    "a shard that is not in line": (
        lambda j: [("ZREM", K + "verifying", j["verifying"])], "not_in_verifying"),
    "a shard without manifest": (
        lambda j: [("HDEL", f"{K}job:{j['verifying']}", "manifest")], "without_holder"),
    "a dead job that is not listed": (lambda j: [("ZREM", K + "dead", j["dead"])], "not_in_dead"),
    "a job that waits nowhere": (lambda j: [("ZREM", K + "retry", j["retry"])], "not_in_retry"),
    "an intermediate that waits nowhere": (
        lambda j: [("ZREM", K + "score", j["score"])], "not_in_score"),
    "a stage without intermediate": (
        lambda j: [("HDEL", f"{K}job:{j['score']}", "fetched")], "stage_without_intermediate"),
    "a job without hash": (
        lambda j: [("DEL", f"{K}job:{j['retry']}"), ("ZREM", K + "retry", j["retry"])], "lost"),
    "a leased job that waits too": (
        lambda j: [("ZADD", K + "retry", 0, j["leased"])], "in_two_places"),
    "a dead job that waits too": (lambda j: [("ZADD", K + "score", 0, j["dead"])], "in_two_places"),
    "a waiting job with a beat": (
        lambda j: [("ZADD", K + "beats", 0, j["retry"])], "in_two_places"),
    "an accepted job that waits": (
        lambda j: [("ZADD", K + "retry", 0, j["finished"])], "in_two_places"),
    "an accepted job that is leased": (
        lambda j: [("HSET", f"{K}job:{j['finished twice leased']}", "state", "leased")],
        "finished_but_leased"),
    "a fresh job that waits": (lambda j: [("ZADD", K + "retry", 0, j["fresh"])], "stray_in_retry"),
    "a member that is no job": (lambda j: [("ZADD", K + "leases", 0, "x")], "stray_in_leases"),
    "a job beyond the last": (lambda j: [("ZADD", K + "dead", 0, "99")], "stray_in_dead"),
    "a holder of what is not leased": (
        lambda j: [("SADD", K + "held:ann/pc", j["dead"])], "held_by_nobody"),
    "a holder of a job that nobody knows": (
        lambda j: [("SADD", K + "held:ann/pc", j["fresh"], "x")], "held_by_nobody"),
    "an account that holds what another leased": (
        lambda j: [("SADD", K + "held:ann", j["leased"])], "held_by_nobody"),
    "a cursor that is behind": (lambda j: [("HINCRBY", K + "meta", "cursor", -2)], "cursor_behind"),
    "a counter": (lambda j: [("HINCRBY", K + "counts", "kept", 7)], "counter"),
    "a counter that is gone": (lambda j: [("HDEL", K + "counts", "bytes")], "counter"),
    "credit for nothing": (lambda j: [("HSET", K + "credits", "jobs:mia", 4)], "counter"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_broken_by_hand_is_found_and_put_right(redis, queue, jobs, name):
    commands, kind = BROKEN[name]
    for words in commands(jobs):
        await redis.execute_command(*words)
    books = Books(redis)
    before = await contents(redis)
    balance = await books.check("A")
    assert kind in balance.found, balance.examples
    assert balance.repaired == 0
    assert await contents(redis) == before  # looking changes nothing
    repaired = await books.check("A", repair=True)
    assert repaired.repaired == repaired.differences >= 1
    again = await books.check("A")
    assert not again.found, again.examples
    await to_the_end(queue)
    last = await books.check("A")
    assert not last.found, last.examples


async def to_the_end(queue):
    """Every job can still be brought to its end, and is counted once."""
    for _ in range(60):
        for job in (await queue.stale("A", timedelta(0), 100)).leases:
            await queue.release(job.lease_id, job.account, "no")
        await queue.requeue([lease.job for lease in await dead(queue)], "again")
        while submission := await queue.claim_verification("A", timedelta(hours=1)):
            await queue.accept(submission.lease_id, Counts(pairs=3, kept=3), 10)
        held = await queue.lease("A", "zoe", "pc", ANY)
        if isinstance(held, IdleReason):
            break
        stage = Stage.SCORE if held.fetched else Stage.HYBRID
        await queue.complete(held.lease_id, "zoe", manifest_of(3, stage))
    stats = await queue.stats("A", silent_for=timedelta(hours=1))
    assert (stats.jobs.accepted, stats.kept) == (12, 36)


async def dead(queue):

    views = [await queue.job(JobRef("A", index)) for index in range(12)]
    return [view for view in views if view.state == "dead"]


async def test_a_result_that_was_counted_and_lost_is_told_and_left_alone(redis, queue, jobs):
    await redis.hdel(K + "finished", str(jobs["finished twice leased"]))
    balance = await Books(redis).check("A", repair=True)
    assert balance.found["accepted_without_record"] == 1
    assert balance.repaired < balance.differences


async def test_a_sweep_beside_the_work_finds_nothing_and_goes_in_slices(redis):
    queue = JobQueue(
        redis, lease_duration=timedelta(hours=1), max_held=1000, max_held_account=10**4
    )
    await queue.add(NewCrawl(name="A", base="/x", paths=("a",), parts=800, recipe=RECIPE))
    stop = asyncio.Event()

    async def work(name):
        while not stop.is_set():
            held = await queue.lease("A", name, "pc")
            if not isinstance(held, HeldLease):
                return
            await queue.complete(held.lease_id, name, manifest_of(3))
            await queue.accept(held.lease_id, Counts(pairs=3, kept=3), 10)

    workers = [asyncio.create_task(work(f"w{number}")) for number in range(4)]
    for _ in range(4):
        balance = await Books(redis).check("A", repair=True)
        assert not balance.found, balance.examples
        await asyncio.sleep(0.05)
    stop.set()
    await asyncio.gather(*workers)
    # Redis does nothing else while a script runs, so none may look at all jobs
    began = await scripts_run(redis)
    balance = await Books(redis).check("A")
    assert await scripts_run(redis) - began >= balance.jobs // 200 >= 2


async def scripts_run(redis):
    return (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]


async def test_of_many_trackers_one_checks_each_hour_and_tells_the_others(redis, queue, jobs):
    await redis.zrem(K + "leases", jobs["leased"])
    swept = await asyncio.gather(*(Books(redis).sweep_if_due() for _ in range(4)))
    [balance] = [one for one in swept if one is not None]
    assert balance.found == {"not_in_leases": 1}
    last = await Books(redis).last()
    assert (last.jobs, last.differences, last.repaired) == (7, 1, 0)
    assert 3000 < await redis.ttl("{store}:books-due") <= 3600


async def test_the_command_says_what_is_wrong_and_puts_it_right(redis, redis_url, queue, jobs):
    await redis.zrem(K + "leases", jobs["leased"])
    where = ("--redis-url", redis_url)
    status, said = await command("books", *where)
    assert status == os.EX_DATAERR
    assert "1  not_in_leases" in said
    assert "1 differences are left; --repair puts right what it can" in said
    status, said = await command("books", "--repair", "--json", *where)
    assert (status, json.loads(said)["repaired"]) == (0, 1)
    status, said = await command("books", *where)
    assert (status, said) == (0, "7 jobs looked at, 0 differences")


async def test_a_running_tracker_says_when_its_books_do_not_balance(
    redis, queue, jobs, start, caplog
):
    await redis.zrem(K + "leases", jobs["leased"])
    tracker = await start()
    await until(lambda: "do not balance: 1 differences, e.g. not_in_leases" in caplog.text)
    session = await tracker.raw()
    async with session.get("/metrics") as answer:
        assert "laion_books_differences 1.0" in await answer.text()
