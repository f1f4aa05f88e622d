import asyncio
from datetime import timedelta

import pytest

from laion_protocol import FailureClass, IdleReason, JobState, LeaseLost, Outcome
from tracker.events import EventLog
from tracker.queue import JobQueue, RetryPolicy

CRAWL = "CC-TEST-1"


async def over():
    """Wait until the leases of `hasty` have run out."""
    await asyncio.sleep(0.003)


async def events_of(redis, kind):
    return [e.event for e in await EventLog(redis).read("0") if e.event.type == kind]


async def test_a_released_job_is_free_at_once_and_the_receipt_repeats(queue, new_crawl, manifest):
    await queue.add(new_crawl())
    lease = await queue.lease(CRAWL, "ada", "w")
    receipt = await queue.release(lease.lease_id, "ada", "shutting down")
    assert (receipt.state, receipt.outcome) == (JobState.PENDING, Outcome.RELEASED)
    assert receipt.message == "shutting down"
    assert await queue.release(lease.lease_id, "ada", "again") == receipt
    assert await queue.held("ada", "w") == ()
    second = await queue.lease(CRAWL, "bob", "w")
    assert second.job == lease.job
    with pytest.raises(LeaseLost, match="another worker has the job"):
        await queue.fail(lease.lease_id, "ada", FailureClass.JOB, "too late")
    assert (await queue.release(lease.lease_id, "ada", "again")).outcome is Outcome.RELEASED
    assert (await queue.job(lease.job)).lease == second


async def test_a_failed_job_waits_longer_after_each_failure(redis, new_crawl):
    retry = RetryPolicy(
        min_accounts=5, delay=timedelta(seconds=100), max_delay=timedelta(seconds=300)
    )
    queue = JobQueue(redis, retry=retry)
    await queue.add(new_crawl())
    for low, high in ((50, 100), (100, 200), (150, 300), (150, 300)):
        lease = await queue.lease(CRAWL, "ada", "w")
        receipt = await queue.fail(lease.lease_id, "ada", FailureClass.JOB, "no such file")
        assert (receipt.state, receipt.outcome) == (JobState.PENDING, Outcome.FAILED)
        assert await queue.fail(lease.lease_id, "ada", FailureClass.JOB, "again") == receipt
        assert await queue.lease(CRAWL, "bob", "w") is IdleReason.NO_WORK
        assert low <= await waits(queue, lease.job) <= high
        await pass_time(redis, lease.job)


async def pass_time(redis, job):
    """Whatever the job waits for, it is over."""
    await redis.zadd(f"crawl:{{{CRAWL}}}:retry", {str(job.index): 0})


async def waits(queue, job):
    """Seconds that the job must wait after its last attempt."""
    view = await queue.job(job)
    return (view.not_before - view.attempts[-1].ended_at).total_seconds()


async def test_a_job_that_is_handed_back_again_and_again_waits_longer_each_time(redis, new_crawl):
    retry = RetryPolicy(delay=timedelta(seconds=100), max_delay=timedelta(seconds=300))
    queue = JobQueue(redis, retry=retry)
    await queue.add(new_crawl())
    for low, high in ((0, 0), (50, 100), (100, 200), (150, 300), (150, 300)):
        lease = await queue.lease(CRAWL, "ada", "w")
        await queue.release(lease.lease_id, "ada", "bye")
        assert low <= await waits(queue, lease.job) <= high
        await pass_time(redis, lease.job)
    assert (await queue.lease(CRAWL, "ada", "w")).job == lease.job  # alone, it gets it in the end


async def test_a_job_handed_back_once_after_failures_does_not_wait(redis, new_crawl):
    queue = JobQueue(redis, retry=RetryPolicy(delay=timedelta(hours=1)))
    await queue.add(new_crawl())
    for account in ("ada", "bob"):
        lease = await queue.lease(CRAWL, account, "w")
        await queue.fail(lease.lease_id, account, FailureClass.NETWORK, "cut off")
        await pass_time(redis, lease.job)
    lease = await queue.lease(CRAWL, "cyd", "w")
    await queue.release(lease.lease_id, "cyd", "bye")
    assert (await queue.lease(CRAWL, "dan", "w")).job == lease.job


@pytest.mark.parametrize("ending", ["released", "failed", "expired"])
async def test_too_few_accounts_kill_no_job_and_each_try_waits_for_the_longest_time(
    redis, new_crawl, ending
):
    retry = RetryPolicy(delay=timedelta(seconds=1), max_delay=timedelta(seconds=300))
    queue = JobQueue(redis, retry=retry)
    hasty = JobQueue(redis, retry=retry, lease_duration=timedelta(milliseconds=1))
    await queue.add(new_crawl())
    for number in range(45):  # more than are remembered
        account = ("ada", "bob")[number % 2]
        lease = await (hasty if ending == "expired" else queue).lease(CRAWL, account, "w")
        if ending == "released":
            await queue.release(lease.lease_id, account, "bye")
        elif ending == "failed":
            await queue.fail(lease.lease_id, account, FailureClass.WORKER, "disk full")
        else:
            await over()
            await queue.reap(CRAWL)
        assert (await queue.job(lease.job)).state is JobState.PENDING
        if number + 1 >= retry.max_leases:
            assert 150 <= await waits(queue, lease.job) <= 300
            assert await queue.lease(CRAWL, "eve", "w") is IdleReason.NO_WORK
        await pass_time(redis, lease.job)
    lease = await queue.lease(CRAWL, "cyd", "w")  # the third account
    receipt = await queue.fail(lease.lease_id, "cyd", FailureClass.JOB, "not a WARC file")
    assert receipt.state is JobState.DEAD


@pytest.mark.parametrize(("delay", "low", "high"), [(30, 1800, 3600), (0, 0, 0)])
async def test_the_wait_is_right_after_any_number_of_attempts(redis, new_crawl, delay, low, high):
    queue = JobQueue(redis, retry=RetryPolicy(delay=timedelta(seconds=delay)))
    await queue.add(new_crawl())
    lease = await queue.lease(CRAWL, "ada", "w")
    key = f"crawl:{{{CRAWL}}}:job:{lease.job.index}"
    await redis.hset(key, "attempt", 5000)
    await redis.hset(key, "holder", 5000)
    for number in range(4961, 5001):
        await redis.hset(key, f"a:{number}", await redis.hget(key, "a:1"))
    await queue.fail(lease.lease_id, "ada", FailureClass.JOB, "no such file")
    assert low <= await waits(queue, lease.job) <= high


async def test_neighbours_that_fail_together_do_not_come_back_together(redis, new_crawl):
    queue = JobQueue(redis, retry=RetryPolicy(delay=timedelta(hours=1)), max_held=100)
    await queue.add(new_crawl(files=20))
    seen = set()
    for _ in range(20):
        lease = await queue.lease(CRAWL, "ada", "w")
        await queue.fail(lease.lease_id, "ada", FailureClass.JOB, "no such file")
        seen.add(await waits(queue, lease.job) // 10)
    assert len(seen) > 10


async def test_a_job_that_kills_every_worker_is_dead_and_says_why(queue, new_crawl, redis):
    await queue.add(new_crawl())
    for account in ("ada", "bob", "ada"):
        lease = await queue.lease(CRAWL, account, "w")
        receipt = await queue.fail(
            lease.lease_id, account, FailureClass.JOB, f"{account}: not a WARC file"
        )
    assert receipt.state is JobState.DEAD
    view = await queue.job(lease.job)
    assert view.state is JobState.DEAD
    assert [attempt.message for attempt in view.attempts] == [
        "ada: not a WARC file",
        "bob: not a WARC file",
        "ada: not a WARC file",
    ]
    assert {attempt.failure_class for attempt in view.attempts} == {FailureClass.JOB}
    assert await queue.lease(CRAWL, "cyd", "w") is IdleReason.NO_WORK
    (died,) = await events_of(redis, "job_died")
    assert (died.job, died.attempt) == (str(lease.job), 3)
    assert died.message == "ada: not a WARC file"
    (finished,) = await events_of(redis, "crawl_finished")
    assert (finished.accepted, finished.dead) == (0, 1)


async def test_a_job_that_keeps_expiring_becomes_a_dead_letter(queue, hasty, new_crawl):
    await queue.add(new_crawl())
    for account in ("ada", "bob", "cyd"):
        lease = await hasty.lease(CRAWL, account, "w")
        await over()
        await queue.reap(CRAWL)
    assert (await queue.job(lease.job)).state is JobState.DEAD


async def test_one_account_alone_kills_no_job(queue, new_crawl):
    await queue.add(new_crawl())
    for _ in range(10):
        lease = await queue.lease(CRAWL, "ada", "w")
        receipt = await queue.fail(lease.lease_id, "ada", FailureClass.WORKER, "disk full")
        assert receipt.state is JobState.PENDING


@pytest.mark.parametrize("blame", [FailureClass.SERVER, FailureClass.NETWORK, None])
async def test_what_is_not_the_jobs_fault_does_not_count_but_does_not_loop_for_ever(
    queue, new_crawl, blame
):
    await queue.add(new_crawl())
    states = []
    for number in range(6):
        account = f"account-{number}"
        lease = await queue.lease(CRAWL, account, "w")
        if blame is None:
            receipt = await queue.release(lease.lease_id, account, "bye")
        else:
            receipt = await queue.fail(lease.lease_id, account, blame, "cut off")
        states.append(receipt.state)
    assert states == [JobState.PENDING] * 5 + [JobState.DEAD]


async def test_invalid_shards_count_as_attempts(queue, new_crawl, manifest):
    await queue.add(new_crawl())
    for account in ("ada", "bob", "cyd"):
        lease = await queue.lease(CRAWL, account, "w")
        await queue.complete(lease.lease_id, account, manifest())
        receipt = await queue.reject(lease.lease_id, "empty")
    assert receipt.state is JobState.DEAD


async def test_a_late_shard_that_is_rejected_costs_one_attempt_not_two(
    queue, hasty, new_crawl, manifest
):
    await queue.add(new_crawl())
    for account in ("ada", "bob"):
        lease = await hasty.lease(CRAWL, account, "w")
        await over()
        await queue.reap(CRAWL)
        await queue.complete(lease.lease_id, account, manifest())
        receipt = await queue.reject(lease.lease_id, "empty")
    assert receipt.state is JobState.PENDING


async def test_the_reaper_takes_the_longest_expired_first_and_no_more_than_asked(
    queue, hasty, new_crawl
):
    await queue.add(new_crawl(files=5))
    leases = []
    for _ in range(4):
        leases.append(await hasty.lease(CRAWL, "ada", "w"))
        await over()
    alive = await queue.lease(CRAWL, "ada", "w")
    assert await queue.reap(CRAWL, limit=3) == 3
    assert {lease.job for lease in await queue.held("ada", "w")} == {leases[3].job, alive.job}
    assert sum(await asyncio.gather(*(queue.reap(CRAWL) for _ in range(10)))) == 1
    assert await queue.held("ada", "w") == (alive,)


async def test_an_outage_of_the_tracker_makes_all_leases_longer(queue, hasty, new_crawl, redis):
    await queue.add(new_crawl(files=2))
    await queue.reap(CRAWL)
    short = await hasty.lease(CRAWL, "ada", "w")
    long = await queue.lease(CRAWL, "bob", "w")
    outage = timedelta(minutes=30)
    last = int(await redis.hget(f"crawl:{{{CRAWL}}}:meta", "reaped_at"))
    last -= outage // timedelta(milliseconds=1)
    await redis.hset(f"crawl:{{{CRAWL}}}:meta", "reaped_at", last)
    await over()
    assert await queue.reap(CRAWL) == 0
    after = {}
    for before in (short, long):
        after[before.job] = (await queue.job(before.job)).lease.deadline
        added = after[before.job] - before.deadline
        assert outage <= added < outage + timedelta(seconds=20)
    assert await queue.reap(CRAWL) == 0
    assert (await queue.job(short.job)).lease.deadline == after[short.job]  # longer once only


async def test_every_lost_attempt_is_an_event(queue, hasty, new_crawl, manifest, redis):
    await queue.add(new_crawl(files=5))
    leases = [await queue.lease(CRAWL, "ada", "pc") for _ in range(4)]
    await queue.release(leases[0].lease_id, "ada", "bye")
    await queue.fail(leases[1].lease_id, "ada", FailureClass.JOB, "not a WARC file")
    await queue.complete(leases[2].lease_id, "ada", manifest())
    await queue.reject(leases[2].lease_id, "empty")
    await queue.requeue([leases[3].job], "stuck")
    await hasty.lease(CRAWL, "bob", "pc")
    await over()
    await queue.reap(CRAWL)
    lost = await events_of(redis, "attempt_lost")
    assert [(event.outcome, event.message) for event in lost] == [
        (Outcome.RELEASED, "bye"),
        (Outcome.FAILED, "not a WARC file"),
        (Outcome.INVALID, "empty"),
        (Outcome.SUPERSEDED, "stuck"),
        (Outcome.EXPIRED, "no heartbeat came before the deadline"),
    ]
    assert [event.job for event in lost[:4]] == [str(lease.job) for lease in leases]
    assert [event.account for event in lost] == ["ada"] * 4 + ["bob"]
    assert {(event.worker, event.crawl) for event in lost} == {("pc", CRAWL)}


async def test_a_long_or_broken_message_is_cut_and_cleaned(queue, new_crawl):
    await queue.add(new_crawl())
    lease = await queue.lease(CRAWL, "ada", "w")
    message = "\0\ud800\u2028💥" + "x" * 10_000
    receipt = await queue.fail(lease.lease_id, "ada", FailureClass.JOB, message)
    assert receipt.message == "\0?\u2028💥" + "x" * 496
    assert (await queue.job(lease.job)).attempts[0].message == receipt.message


async def test_a_job_remembers_its_last_forty_attempts(queue, new_crawl):
    await queue.add(new_crawl())
    for _ in range(45):
        lease = await queue.lease(CRAWL, "ada", "w")
        await queue.requeue([lease.job], "again")
    view = await queue.job(lease.job)
    assert [attempt.number for attempt in view.attempts] == list(range(6, 46))


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_attempts": 0},
        {"max_attempts": 21},
        {"max_leases": 41},
        {"min_accounts": 6},
        {"min_accounts": 0},
        {"delay": timedelta(hours=2)},
        {"delay": timedelta(seconds=-1)},
    ],
)
def test_a_policy_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match="does not hold"):
        RetryPolicy(**wrong)
