import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from redis.asyncio import Redis

from laion_protocol import (
    CrawlState,
    FailureClass,
    IdleReason,
    InvalidRequest,
    JobState,
    LeaseLost,
    NotFound,
    Outcome,
)
from laion_protocol.messages import Progress
from tracker.queue import JobQueue, JobRef, LeaseRef

CRAWL = "CC-TEST-1"


async def over():
    """Wait until the leases of `hasty` have run out."""
    await asyncio.sleep(0.003)


async def test_a_lease_says_all_about_itself(queue, new_crawl):
    await queue.add(new_crawl(files=2, parts=2))
    lease = await queue.lease(CRAWL, "ada", "pc-1")
    assert LeaseRef.parse(lease.lease_id).job == lease.job
    assert (lease.account, lease.worker, lease.attempt) == ("ada", "pc-1", 1)
    assert lease.deadline - lease.leased_at == timedelta(hours=1)
    assert abs(datetime.now(UTC) - lease.leased_at) < timedelta(minutes=1)
    view = await queue.job(lease.job)
    assert (view.state, view.lease) == (JobState.LEASED, lease)


async def test_fifty_workers_of_two_trackers_get_one_job_each(queue, new_crawl, redis_url):
    await queue.add(new_crawl(files=5, parts=10))
    async with Redis.from_url(redis_url, decode_responses=True) as other:
        queues = (queue, JobQueue(other))
        leases = await asyncio.gather(
            *(queues[i % 2].lease(CRAWL, f"a{i}", "w") for i in range(60))
        )
    jobs = [lease.job for lease in leases if lease is not IdleReason.NO_WORK]
    assert len(jobs) == len(set(jobs)) == 50


async def test_when_all_jobs_are_taken_there_is_no_work(queue, new_crawl):
    await queue.add(new_crawl())
    await queue.lease(CRAWL, "ada", "w")
    assert await queue.lease(CRAWL, "bob", "w") is IdleReason.NO_WORK


async def test_a_paused_crawl_gives_no_jobs_until_it_is_resumed(queue, new_crawl, manifest):
    await queue.add(new_crawl(files=2))
    lease = await queue.lease(CRAWL, "ada", "w")
    await queue.pause(CRAWL)
    assert (await queue.crawl(CRAWL)).state is CrawlState.PAUSED
    assert await queue.lease(CRAWL, "bob", "w") is IdleReason.PAUSED
    assert (await queue.extend(lease.lease_id, "ada", Progress())).crawl_state == "paused"
    receipt = await queue.complete(lease.lease_id, "ada", manifest())
    assert receipt.state is JobState.VERIFYING
    await queue.resume(CRAWL)
    assert (await queue.lease(CRAWL, "bob", "w")).account == "bob"


async def test_one_worker_cannot_hoard_jobs(redis, new_crawl):
    queue = JobQueue(redis, max_held=2)
    await queue.add(new_crawl(files=5))
    first = await queue.lease(CRAWL, "ada", "w")
    await queue.lease(CRAWL, "ada", "w")
    assert await queue.lease(CRAWL, "ada", "w") is IdleReason.QUOTA
    assert (await queue.lease(CRAWL, "ada", "other")).worker == "other"
    await queue.release(first.lease_id, "ada", "bye")
    assert (await queue.lease(CRAWL, "ada", "w")).job != first.job


async def test_one_account_cannot_hoard_jobs_with_many_workers(redis, new_crawl, manifest):
    queue = JobQueue(redis, max_held=2, max_held_account=3)
    await queue.add(new_crawl(files=9))
    first, second, third = [await queue.lease(CRAWL, "ada", f"w{number}") for number in range(3)]
    assert await queue.lease(CRAWL, "ada", "w9") is IdleReason.QUOTA
    assert (await queue.lease(CRAWL, "bob", "w")).account == "bob"
    await queue.complete(first.lease_id, "ada", manifest())  # what is handed in is not held
    await queue.lease(CRAWL, "ada", "w9")
    assert await queue.lease(CRAWL, "ada", "w9") is IdleReason.QUOTA
    await queue.requeue([second.job], "stuck")
    await queue.lease(CRAWL, "ada", "w9")
    assert await queue.lease(CRAWL, "ada", "w8") is IdleReason.QUOTA
    await queue.fail(third.lease_id, "ada", FailureClass.JOB, "broken")
    assert (await queue.lease(CRAWL, "ada", "w8")).account == "ada"


async def test_a_lease_that_came_back_to_life_counts_as_held(redis, hasty, new_crawl):
    queue = JobQueue(redis, max_held_account=1)
    await queue.add(new_crawl(files=2))
    lease = await hasty.lease(CRAWL, "ada", "w")
    await over()
    await queue.reap(CRAWL)
    await queue.extend(lease.lease_id, "ada", Progress())
    assert await queue.lease(CRAWL, "ada", "w2") is IdleReason.QUOTA


async def test_no_heartbeat_makes_a_lease_last_for_ever(redis, hasty, new_crawl, manifest):
    brief = timedelta(milliseconds=100)
    queue = JobQueue(redis, lease_duration=brief, max_lease=1.5 * brief)
    await queue.add(new_crawl())
    lease = await queue.lease(CRAWL, "ada", "w")
    extended = await queue.extend(lease.lease_id, "ada", Progress())
    assert lease.deadline <= extended.deadline <= lease.leased_at + 1.5 * brief
    await asyncio.sleep(0.06)
    extended = await queue.extend(lease.lease_id, "ada", Progress())
    assert extended.deadline == lease.leased_at + 1.5 * brief
    await asyncio.sleep(0.1)
    with pytest.raises(LeaseLost, match="as long as a lease may"):
        await queue.extend(lease.lease_id, "ada", Progress())
    assert await queue.reap(CRAWL) == 1
    with pytest.raises(LeaseLost, match="as long as a lease may"):
        await queue.extend(lease.lease_id, "ada", Progress())
    receipt = await queue.complete(lease.lease_id, "ada", manifest())  # the work is welcome still
    assert receipt.state is JobState.VERIFYING


async def test_an_outage_of_the_tracker_is_not_held_against_a_long_lease(redis, new_crawl):
    queue = JobQueue(redis, max_lease=timedelta(milliseconds=1))
    await queue.add(new_crawl())
    lease = await queue.lease(CRAWL, "ada", "w")
    await over()
    extended = await queue.extend(lease.lease_id, "ada", Progress())
    assert extended.deadline > lease.leased_at + timedelta(minutes=4)


@pytest.mark.parametrize(("account", "worker"), [("a b", "w"), ("ada", ""), ("ada", "x/y")])
async def test_names_that_would_break_the_records_are_refused(queue, new_crawl, account, worker):
    await queue.add(new_crawl())
    with pytest.raises(InvalidRequest):
        await queue.lease(CRAWL, account, worker)


async def test_an_expired_lease_goes_to_the_next_worker_and_its_first_holder_is_told(
    queue, hasty, new_crawl, manifest
):
    await queue.add(new_crawl())
    first = await hasty.lease(CRAWL, "slow", "w")
    await over()
    assert await queue.reap(CRAWL) == 1
    assert await queue.reap(CRAWL) == 0
    second = await queue.lease(CRAWL, "fast", "w")
    assert (second.job, second.attempt) == (first.job, 2)
    with pytest.raises(LeaseLost, match="another worker has the job"):
        await queue.complete(first.lease_id, "slow", manifest())
    with pytest.raises(LeaseLost, match="another worker has the job"):
        await queue.extend(first.lease_id, "slow", Progress())
    assert (await queue.job(first.job)).lease.lease_id == second.lease_id


async def test_a_heartbeat_keeps_the_lease_and_stores_progress(queue, hasty, new_crawl):
    await queue.add(new_crawl())
    lease = await hasty.lease(CRAWL, "ada", "w")
    await over()
    progress = Progress(stage="download", pairs=100, downloaded=40, kept=9)
    extended = await queue.extend(lease.lease_id, "ada", progress)
    assert extended.deadline > lease.deadline + timedelta(minutes=59)
    assert extended.crawl_state is CrawlState.ACTIVE
    assert await queue.reap(CRAWL) == 0
    (held,) = await queue.held("ada", "w")
    assert (held.progress, held.deadline) == (progress, extended.deadline)
    assert held.beat_at > held.leased_at == lease.leased_at


async def test_a_worker_back_from_a_long_sleep_goes_on_with_a_job_that_nobody_took(
    queue, hasty, new_crawl, manifest
):
    await queue.add(new_crawl())
    lease = await hasty.lease(CRAWL, "ada", "w")
    await over()
    await queue.reap(CRAWL)
    await queue.extend(lease.lease_id, "ada", Progress())
    view = await queue.job(lease.job)
    assert (view.state, view.attempts[0].outcome) == (JobState.LEASED, None)
    assert await queue.lease(CRAWL, "bob", "w") is IdleReason.NO_WORK
    assert [held.lease_id for held in await queue.held("ada", "w")] == [lease.lease_id]
    await queue.complete(lease.lease_id, "ada", manifest())
    receipt = await queue.accept(lease.lease_id, manifest().counts, 10)
    assert receipt.outcome is Outcome.OK


async def give_up(queue, lease, ending):
    """As the account that holds it."""
    if ending == "released":
        await queue.release(lease.lease_id, lease.account, "shutting down")
    else:
        await queue.fail(lease.lease_id, lease.account, FailureClass.JOB, "no such file")


@pytest.mark.parametrize("ending", ["failed", "released"])
async def test_a_job_is_not_given_to_the_account_that_gave_it_up_while_there_is_another(
    queue, new_crawl, ending
):
    await queue.add(new_crawl(files=2))
    lease = await queue.lease(CRAWL, "ada", "w")
    await give_up(queue, lease, ending)
    assert (await queue.lease(CRAWL, "ada", "w2")).job != lease.job
    assert (await queue.lease(CRAWL, "bob", "w")).job == lease.job


@pytest.mark.parametrize("ending", ["failed", "released"])
async def test_a_job_goes_to_the_account_that_gave_it_up_when_nothing_else_is_left(
    queue, new_crawl, ending
):
    await queue.add(new_crawl())
    lease = await queue.lease(CRAWL, "ada", "w")
    await give_up(queue, lease, ending)
    assert (await queue.lease(CRAWL, "ada", "w")).job == lease.job


async def test_a_job_that_the_server_spoiled_comes_back_to_its_account_first(queue, new_crawl):
    await queue.add(new_crawl(files=2))
    lease = await queue.lease(CRAWL, "ada", "w")
    await queue.fail(lease.lease_id, "ada", FailureClass.SERVER, "upload refused")
    assert (await queue.lease(CRAWL, "ada", "w")).job == lease.job


async def test_a_long_list_of_own_failures_does_not_keep_an_account_from_new_jobs(queue, new_crawl):
    await queue.add(new_crawl(files=12))
    failed = [await queue.lease(CRAWL, "ada", "w") for _ in range(11)]
    for lease in failed:
        await queue.fail(lease.lease_id, "ada", FailureClass.NETWORK, "cut off")
    assert (await queue.lease(CRAWL, "ada", "w")).job not in {lease.job for lease in failed}


async def test_a_job_of_another_account_is_as_if_it_did_not_exist(queue, new_crawl, manifest):
    await queue.add(new_crawl())
    lease = await queue.lease(CRAWL, "ada", "w")
    lease_id = lease.lease_id
    for call in (
        queue.extend(lease_id, "eve", Progress()),
        queue.complete(lease_id, "eve", manifest()),
        queue.release(lease_id, "eve", "mine now"),
        queue.fail(lease_id, "eve", FailureClass.JOB, "broken"),
        queue.open_lease(lease_id, "eve"),
        queue.receipt(lease_id, "eve"),
    ):
        with pytest.raises(NotFound):
            await call
    assert (await queue.job(lease.job)).lease == lease


async def test_a_lease_that_was_never_given_is_lost_and_a_job_that_is_not_is_not_found(
    queue, new_crawl, manifest
):
    await queue.add(new_crawl(files=2))
    lease = await queue.lease(CRAWL, "ada", "w")
    other = JobRef(CRAWL, 1 - lease.job.index)
    forged = [LeaseRef(lease.job, "0" * 32), LeaseRef(other, "0" * 32)]
    for ref in forged:
        with pytest.raises(LeaseLost, match="does not know it"):
            await queue.complete(str(ref), "ada", manifest())
    for job in (JobRef(CRAWL, 2), JobRef(CRAWL, 10**12 - 1), JobRef("CC-OTHER", 0)):
        with pytest.raises(NotFound):
            await queue.complete(str(LeaseRef(job, "0" * 32)), "ada", manifest())


@pytest.mark.parametrize(
    "lease_id",
    ["", "x", "CC~1~" + "0" * 31, "CC~-1~" + "0" * 32, "CC~٣~" + "0" * 32, "{a}~1~" + "0" * 32],
)
async def test_what_is_no_lease_id_is_refused(queue, lease_id):
    with pytest.raises(InvalidRequest):
        await queue.extend(lease_id, "ada", Progress())


@pytest.mark.parametrize("job_id", ["", "CC", "CC/", "CC/x", "CC/-1", "C C/1", "CC/1/2"])
def test_what_is_no_job_id_is_refused(job_id):
    with pytest.raises(InvalidRequest):
        JobRef.parse(job_id)


def test_job_ids_are_read_back():
    assert str(JobRef.parse("CC-MAIN-2026-43/17")) == "CC-MAIN-2026-43/17"


def test_a_client_that_does_not_decode_is_refused_at_once(redis_url):
    with pytest.raises(ValueError, match="decode_responses"):
        JobQueue(Redis.from_url(redis_url))


async def test_a_lease_asks_redis_no_more_when_there_are_more_jobs_and_more_leases(
    queue, new_crawl, redis
):
    async def calls_of_a_lease(account):
        await redis.config_resetstat()
        assert (await queue.lease("big", account, "w")).account == account
        stats = await redis.info("commandstats")
        return sum(row["calls"] for name, row in stats.items() if name != "cmdstat_info")

    await queue.add(new_crawl(name="big", files=1000, parts=1000))
    await queue.lease("big", "first", "w")  # loads the script and the crawl
    few = await calls_of_a_lease("ada")
    for number in range(300):
        await queue.lease("big", f"a{number}", "w")
    assert await calls_of_a_lease("bob") == few
