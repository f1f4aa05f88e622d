import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from laion_protocol import IdleReason, JobState, LeaseLost, NotFound, Outcome
from laion_protocol.messages import Progress
from tracker.queue import JobRef

CRAWL = "CC-TEST-1"


async def over():
    """Wait until the leases of `hasty` have run out."""
    await asyncio.sleep(0.003)


async def test_a_job_taken_away_is_free_at_once_and_its_worker_stops(queue, new_crawl):
    await queue.add(new_crawl())
    lease = await queue.lease(CRAWL, "ada", "w")
    assert await queue.requeue([lease.job], "stuck for hours") == {lease.job: "requeued"}
    with pytest.raises(LeaseLost, match="an admin took the job away"):
        await queue.extend(lease.lease_id, "ada", Progress())
    receipt = await queue.receipt(lease.lease_id, "ada")
    assert (receipt.outcome, receipt.message) == (Outcome.SUPERSEDED, "stuck for hours")
    assert (await queue.lease(CRAWL, "bob", "w")).job == lease.job


async def test_a_shard_of_a_job_taken_away_is_still_welcome_while_nobody_has_it(
    queue, new_crawl, manifest
):
    await queue.add(new_crawl())
    lease = await queue.lease(CRAWL, "ada", "w")
    await queue.requeue([lease.job], "stuck")
    await queue.complete(lease.lease_id, "ada", manifest())
    receipt = await queue.accept(lease.lease_id, manifest().counts, 10)
    assert receipt.outcome is Outcome.LATE_OK


async def test_taking_a_job_away_never_kills_it(queue, new_crawl):
    await queue.add(new_crawl())
    for number in range(10):
        lease = await queue.lease(CRAWL, f"account-{number}", "w")
        await queue.requeue([lease.job], "stuck")
    assert (await queue.job(lease.job)).state is JobState.PENDING


async def test_a_dead_job_comes_back_with_fresh_attempts(queue, hasty, new_crawl):
    await queue.add(new_crawl())

    async def expire(account):
        lease = await hasty.lease(CRAWL, account, "w")
        await over()
        await queue.reap(CRAWL)
        return (await queue.job(lease.job)).state

    states = [await expire(account) for account in ("ada", "bob", "cyd")]
    assert states[-1] is JobState.DEAD
    assert await queue.requeue([JobRef(CRAWL, 0)], "fixed") == {JobRef(CRAWL, 0): "requeued"}
    assert (await queue.stats(CRAWL, silent_for=timedelta(0))).jobs.pending == 1
    states = [await expire(account) for account in ("ada", "bob", "cyd")]
    assert states == [JobState.PENDING, JobState.PENDING, JobState.DEAD]
    assert len((await queue.job(JobRef(CRAWL, 0))).attempts) == 6


async def test_what_is_pending_or_done_stays_and_what_is_not_there_is_unknown(
    queue, new_crawl, manifest
):
    await queue.add(new_crawl(files=4))
    verifying, accepted = [await queue.lease(CRAWL, "ada", "w") for _ in range(2)]
    for lease in (verifying, accepted):
        await queue.complete(lease.lease_id, "ada", manifest())
    await queue.accept(accepted.lease_id, manifest().counts, 10)
    pending = next(
        JobRef(CRAWL, index)
        for index in range(4)
        if index not in (verifying.job.index, accepted.job.index)
    )
    jobs = [verifying.job, accepted.job, pending, JobRef(CRAWL, 4), JobRef("CC-OTHER", 0)]
    expected = ["unchanged", "unchanged", "unchanged", "unknown", "unknown"]
    assert list((await queue.requeue(jobs, "why not", dry_run=True)).values()) == expected
    assert await queue.requeue(jobs, "why not") == dict(zip(jobs, expected, strict=True))
    assert (await queue.job(verifying.job)).state is JobState.VERIFYING
    assert (await queue.job(accepted.job)).state is JobState.ACCEPTED


async def test_a_dry_run_says_the_same_and_does_nothing(queue, new_crawl, redis):
    await queue.add(new_crawl(files=3))
    leases = [await queue.lease(CRAWL, "ada", "w") for _ in range(2)]
    jobs = [lease.job for lease in leases]
    before = await queue.held("ada", "w")
    dry = await queue.requeue(jobs, "stuck", dry_run=True)
    assert await queue.held("ada", "w") == before
    assert dry == await queue.requeue(jobs, "stuck") == dict.fromkeys(jobs, "requeued")


async def test_a_lease_that_beat_again_since_the_admin_looked_is_left_alone(queue, new_crawl):
    await queue.add(new_crawl(files=2))
    silent, alive = [await queue.lease(CRAWL, "ada", "w") for _ in range(2)]
    seen = max(silent.beat_at, alive.beat_at)
    await over()
    await queue.extend(alive.lease_id, "ada", Progress())
    jobs = [silent.job, alive.job]
    for dry_run in (True, False):
        verdicts = await queue.requeue(jobs, "stale", silent_since=seen, dry_run=dry_run)
        assert verdicts == {silent.job: "requeued", alive.job: "alive"}
    assert [lease.job for lease in await queue.held("ada", "w")] == [alive.job]


@pytest.mark.parametrize("year", [1, 1969, 1970])
async def test_a_look_long_ago_leaves_every_lease_alone(queue, new_crawl, year):
    await queue.add(new_crawl())
    lease = await queue.lease(CRAWL, "ada", "w")
    long_ago = datetime(year, 1, 1, tzinfo=UTC)
    assert await queue.requeue([lease.job], "stale", silent_since=long_ago) == {lease.job: "alive"}
    assert await queue.held("ada", "w") == (lease,)


async def test_more_jobs_than_one_script_takes_are_requeued(queue, new_crawl):
    await queue.add(new_crawl(files=2, parts=600))
    await queue.lease(CRAWL, "ada", "w")
    jobs = [JobRef(CRAWL, index) for index in range(1300)]
    verdicts = await queue.requeue(jobs, "all")
    assert list(verdicts) == jobs
    counts = {verdict: list(verdicts.values()).count(verdict) for verdict in verdicts.values()}
    assert counts == {"unchanged": 1199, "requeued": 1, "unknown": 100}


async def test_who_is_banned_holds_nothing_any_more_in_any_crawl(queue, new_crawl, manifest):
    for name in ("CC-A", "CC-B"):
        await queue.add(new_crawl(name=name, files=4))
    leases = [await queue.lease(c, "eve", w) for c in ("CC-A", "CC-B") for w in ("w1", "w2")]
    done = await queue.lease("CC-A", "eve", "w1")
    await queue.complete(done.lease_id, "eve", manifest())
    other = await queue.lease("CC-A", "bob", "w1")
    assert await queue.cancel("eve", None, "uploads rubbish") == 4
    assert await queue.cancel("eve", None, "uploads rubbish") == 0
    for lease in leases:
        with pytest.raises(LeaseLost, match="took the job away: uploads rubbish; drop the job"):
            await queue.extend(lease.lease_id, "eve", Progress())
        assert (await queue.receipt(lease.lease_id, "eve")).outcome is Outcome.SUPERSEDED
        assert (await queue.job(lease.job)).state is JobState.PENDING
    assert await queue.held("eve", "w1") == await queue.held("eve", "w2") == ()
    assert await queue.held("bob", "w1") == (other,)
    assert (await queue.job(done.job)).state is JobState.VERIFYING
    assert (await queue.lease("CC-B", "bob", "w1")).attempt == 2


async def test_one_worker_is_cancelled_and_the_others_of_its_account_are_not(
    queue, new_crawl, monkeypatch
):
    monkeypatch.setattr("tracker.queue.job_queue._CANCELLED_AT_ONCE", 2)
    await queue.add(new_crawl(files=9))
    for _ in range(5):
        await queue.lease(CRAWL, "ada", "bad")
    good = await queue.lease(CRAWL, "ada", "good")
    assert await queue.cancel("ada", "bad", "broken memory") == 5
    assert await queue.held("ada", "good") == (good,)
    assert await queue.cancel("ada", None, "all") == 1


async def test_stale_leases_are_listed_with_the_longest_silent_first(queue, new_crawl):
    await queue.add(new_crawl(files=4))
    leases = []
    for worker in ("w0", "w1", "w2"):
        leases.append(await queue.lease(CRAWL, "ada", worker))
        await over()
    await queue.extend(leases[0].lease_id, "ada", Progress(pairs=5))
    await over()
    stale = await queue.stale(CRAWL, timedelta(0), 2)
    assert (stale.total, [lease.worker for lease in stale.leases]) == (3, ["w1", "w2"])
    everyone = await queue.stale(CRAWL, timedelta(0), 10)
    assert everyone.leases[2].progress == Progress(pairs=5)
    assert (await queue.stats(CRAWL, silent_for=timedelta(0))).stale == 3
    nobody = await queue.stale(CRAWL, timedelta(minutes=1), 10)
    assert (nobody.total, nobody.leases) == (0, ())
    assert (await queue.stats(CRAWL, silent_for=timedelta(minutes=1))).stale == 0


async def test_a_worker_finds_its_leases_of_all_crawls_after_a_crash(queue, new_crawl):
    for name in ("CC-A", "CC-B"):
        await queue.add(new_crawl(name=name, files=3))
    mine = []
    for crawl in ("CC-B", "CC-A", "CC-B"):
        mine.append(await queue.lease(crawl, "ada", "pc"))
        await over()
    await queue.lease("CC-A", "ada", "other-pc")
    await queue.lease("CC-A", "bob", "pc")
    assert await queue.held("ada", "pc") == tuple(mine)
    assert await queue.held("ada", "nobody") == ()


async def test_every_call_about_a_crawl_that_does_not_exist_says_so(queue):
    crawl, minute = "CC-NOWHERE", timedelta(minutes=1)
    for call in (
        queue.crawl(crawl),
        queue.pause(crawl),
        queue.resume(crawl),
        queue.lease(crawl, "ada", "w"),
        queue.reap(crawl),
        queue.claim_verification(crawl, minute),
        queue.verifying(crawl, 10),
        queue.stats(crawl, silent_for=minute),
        queue.stale(crawl, minute, 10),
        queue.job(JobRef(crawl, 0)),
    ):
        with pytest.raises(NotFound, match=crawl):
            await call
    assert await queue.credits(crawl) == {}


async def test_crawls_do_not_mix(queue, new_crawl, manifest):
    for name in ("CC-A", "CC-B"):
        await queue.add(new_crawl(name=name))
    lease = await queue.lease("CC-A", "ada", "w")
    await queue.complete(lease.lease_id, "ada", manifest())
    await queue.accept(lease.lease_id, manifest().counts, 10)
    assert (await queue.stats("CC-B", silent_for=timedelta(0))).jobs.pending == 1
    assert await queue.credits("CC-B") == {}
    assert await queue.lease("CC-A", "ada", "w") is IdleReason.NO_WORK
    assert (await queue.lease("CC-B", "ada", "w")).job == JobRef("CC-B", 0)
