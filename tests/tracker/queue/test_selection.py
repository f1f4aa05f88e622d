"""Which jobs a filter means, and that taking them back touches those and no others."""

import asyncio

import pytest

from laion_protocol import Conflict, FailureClass, InvalidRequest, JobState, NotFound, Outcome
from laion_protocol.messages import JobFilter, Progress
from tracker.queue import selection as module
from tracker.queue.selection import Selections, action_of

CRAWL = "CC-TEST-1"


@pytest.fixture
def selections(redis, queue):
    return Selections(redis, queue)


async def tick():
    """Redis's clock counts milliseconds."""
    await asyncio.sleep(0.003)


async def lease(queue, account, worker="w"):
    lease = await queue.lease(CRAWL, account, worker)
    await tick()
    return lease


async def found(selections, limit=100, **filter):
    answer = await selections.search(JobFilter(**filter), limit)
    return answer, [row.job for row in answer.jobs]


async def kill(queue, crawl=CRAWL, accounts=("ada", "bob", "ada"), message="x"):
    """The next job of the crawl, dead."""
    for account in accounts:
        lease = await queue.lease(crawl, account, "w")
        await queue.fail(lease.lease_id, account, FailureClass.JOB, message)
        await tick()
    assert (await queue.job(lease.job)).state is JobState.DEAD
    return lease.job


async def test_leased_jobs_are_found_by_who_holds_them_and_for_how_long(
    queue, selections, new_crawl
):
    await queue.add(new_crawl(files=5))
    mine, others, hers = [
        await lease(queue, account, worker)
        for account, worker in (("ada", "pc"), ("ada", "mac"), ("bob", "pc"))
    ]
    await queue.extend(mine.lease_id, "ada", Progress(pairs=7))
    answer, jobs = await found(selections)
    assert (answer.total, jobs) == (3, [others.job, hers.job, mine.job])
    row = answer.jobs[-1]
    assert (row.attempt.account, row.attempt.worker, row.progress.pairs) == ("ada", "pc", 7)
    assert (row.state, row.since, row.deadline > row.beat_at) == (
        JobState.LEASED, mine.leased_at, True,
    )  # fmt: skip
    assert (await found(selections, account="ada", worker="mac"))[1] == [others.job]
    assert (await found(selections, worker="pc"))[1] == [hers.job, mine.job]
    assert (await found(selections, silent_for=3600))[1] == []
    assert (await found(selections, older_than=3600))[1] == []
    answer, jobs = await found(selections, limit=1, account="ada")
    assert (answer.total, jobs) == (2, [others.job])
    assert (await found(selections, state=JobState.DEAD))[0].total == 0


async def test_silence_and_age_are_told_apart(queue, selections, new_crawl):
    await queue.add(new_crawl(files=2))
    old, young = await queue.lease(CRAWL, "ada", "w"), None
    await asyncio.sleep(0.05)
    young = await queue.lease(CRAWL, "bob", "w")
    await queue.extend(old.lease_id, "ada", Progress())
    assert (await found(selections, older_than=0.04))[1] == [old.job]
    await asyncio.sleep(0.05)
    await queue.extend(young.lease_id, "bob", Progress())
    assert (await found(selections, silent_for=0.04))[1] == [old.job]


async def test_dead_and_waiting_jobs_are_found_by_why_they_failed(queue, selections, new_crawl):
    await queue.add(new_crawl(files=3))
    oom = await kill(queue, message="Out of MEMORY (50%)")
    gone = await kill(queue, message="404 at the source")
    lease = await queue.lease(CRAWL, "cyd", "w")
    await queue.release(lease.lease_id, "cyd", "leaving")
    dead = JobState.DEAD
    assert (await found(selections, state=dead))[1] == [oom, gone]
    assert (await found(selections, state=dead, message="out of memory (50%"))[1] == [oom]
    assert (await found(selections, state=dead, outcome=Outcome.FAILED))[0].total == 2
    assert (await found(selections, state=dead, outcome=Outcome.EXPIRED))[0].total == 0
    assert (await found(selections, state=dead, failure_class=FailureClass.JOB))[0].total == 2
    assert (await found(selections, state=dead, failure_class=FailureClass.WORKER))[0].total == 0
    assert (await found(selections, state=dead, older_than=60))[0].total == 0
    waiting = await found(selections, state=JobState.PENDING, outcome=Outcome.RELEASED)
    assert waiting[1] == [lease.job]
    row = waiting[0].jobs[0]
    assert (row.ended.message, row.ended.number, row.beat_at) == ("leaving", 1, None)
    assert waiting[0].selection == ""


async def test_a_leased_job_is_found_by_how_its_last_attempt_ended(queue, selections, new_crawl):
    await queue.add(new_crawl())
    lease = await queue.lease(CRAWL, "ada", "w")
    await queue.fail(lease.lease_id, "ada", FailureClass.WORKER, "disk full")
    await queue.lease(CRAWL, "bob", "w")
    answer, jobs = await found(selections, message="disk", failure_class=FailureClass.WORKER)
    assert jobs == [lease.job]
    row = answer.jobs[0]
    assert (row.attempt.number, row.attempt.account, row.ended.account) == (2, "bob", "ada")


async def test_shards_that_wait_for_their_check_are_found(queue, selections, new_crawl, manifest):
    await queue.add(new_crawl())
    lease = await queue.lease(CRAWL, "ada", "w")
    await queue.complete(lease.lease_id, "ada", manifest())
    answer, jobs = await found(selections, state=JobState.VERIFYING, account="ada")
    assert (jobs, answer.selection) == ([lease.job], "")


async def test_a_path_pattern_and_a_crawl_narrow_the_search(queue, selections, new_crawl):
    for name in ("CC-A", "CC-B"):
        await queue.add(new_crawl(name=name, files=3, parts=2))
        for _ in range(6):
            await queue.lease(name, "ada", "w")
    answer, jobs = await found(selections, path="crawl/0000[12].*", crawl="CC-B")
    assert answer.total == 4
    assert {(job.crawl, job.index // 2) for job in jobs} == {("CC-B", 1), ("CC-B", 2)}
    assert (await found(selections, path="*00002*"))[0].total == 4
    assert (await found(selections, path="00002"))[0].total == 0
    with pytest.raises(NotFound, match="CC-C"):
        await found(selections, crawl="CC-C")


async def test_a_search_over_many_slices_finds_each_job_once(
    queue, selections, new_crawl, redis, monkeypatch
):
    monkeypatch.setattr(module, "_LOOKED_AT", 7)
    await queue.add(new_crawl(files=50))
    leases = [await queue.lease(CRAWL, "ada", f"w{number % 2}") for number in range(50)]
    # most have one heartbeat time: a tracker that was away, or a reaper that took many at once
    beats = f"crawl:{{{CRAWL}}}:beats"
    await redis.zadd(beats, {str(lease.job.index): 1_000_000 for lease in leases[:40]})
    answer, jobs = await found(selections)
    assert answer.total == 50
    assert sorted(jobs, key=str) == sorted({lease.job for lease in leases}, key=str)
    assert (await found(selections, worker="w1"))[0].total == 25
    assert (await found(selections, silent_for=3600))[0].total == 40


async def test_what_a_search_found_is_taken_back(queue, selections, new_crawl):
    await queue.add(new_crawl(files=4))
    leases = [await lease(queue, "ada") for _ in range(3)]
    held = await queue.lease(CRAWL, "bob", "w")
    filter = JobFilter(account="ada")
    answer = await selections.search(filter, 1)
    action = action_of(answer.selection)
    taken = await selections.requeue(filter, answer.selection, "gone", most=2, action=action)
    assert (taken.selected, taken.left) == (3, 1)
    assert taken.verdicts == {lease.job: "requeued" for lease in leases[:2]}
    taken = await selections.requeue(filter, answer.selection, "gone", most=2, action=action)
    assert (taken.left, taken.verdicts) == (0, {leases[2].job: "requeued"})
    assert await queue.held("bob", "w") == (held,)
    assert await queue.held("ada", "w") == ()
    assert (await queue.receipt(leases[0].lease_id, "ada")).message == "gone"


async def test_dead_jobs_are_taken_back(queue, selections, new_crawl):
    await queue.add(new_crawl(files=2))
    job = await kill(queue)
    filter = JobFilter(state=JobState.DEAD)
    selection = (await selections.search(filter, 0)).selection
    later = await kill(queue)
    taken = await selections.requeue(filter, selection, "fixed", most=10, action="")
    assert taken.verdicts == {job: "requeued"}
    assert (await queue.job(later)).state is JobState.DEAD


async def test_what_changed_since_the_search_is_left_alone(queue, selections, new_crawl, manifest):
    """One beats, one is handed in, one goes to somebody else and one is leased afresh."""
    await queue.add(new_crawl(files=5))
    silent, beats, done, passed = [await queue.lease(CRAWL, "ada", "w") for _ in range(4)]
    await tick()
    filter = JobFilter(silent_for=0.001)
    answer = await selections.search(filter, 10)
    assert answer.total == 4
    await tick()
    await queue.extend(beats.lease_id, "ada", Progress())
    await queue.complete(done.lease_id, "ada", manifest())
    await queue.release(passed.lease_id, "ada", "bye")
    assert (await queue.lease(CRAWL, "bob", "w")).job == passed.job
    fresh = await queue.lease(CRAWL, "ada", "w")
    await asyncio.sleep(0.02)  # by now all of them are silent for longer than that
    taken = await selections.requeue(filter, answer.selection, "x", most=10, action="")
    assert taken.verdicts == {silent.job: "requeued"}
    assert {lease.job for lease in await queue.held("ada", "w")} == {beats.job, fresh.job}


async def test_the_script_itself_spares_what_changed_after_the_sweep(
    queue, selections, new_crawl, monkeypatch
):
    """The sweep and the taking are two scripts; jobs may change in between."""
    await queue.add(new_crawl(files=3))
    again, died, same = [await queue.lease(CRAWL, "ada", "w") for _ in range(3)]
    await tick()
    filter = JobFilter(account="ada")
    answer = await selections.search(filter, 10)
    requeue = queue.requeue

    async def late(*args, **kwargs):
        await tick()
        await queue.release(again.lease_id, "ada", "bye")
        assert (await queue.lease(CRAWL, "bob", "w")).job == again.job
        await requeue([died.job], "another admin")
        return await requeue(*args, **kwargs)

    monkeypatch.setattr(queue, "requeue", late)
    taken = await selections.requeue(filter, answer.selection, "x", most=10, action="")
    assert taken.verdicts == {
        again.job: "unchanged", died.job: "unchanged", same.job: "requeued",
    }  # fmt: skip


async def test_a_dead_job_whose_old_lease_comes_back_to_life_meanwhile_is_spared(
    redis, queue, hasty, selections, new_crawl, monkeypatch
):
    await queue.add(new_crawl())
    leases = []
    for account in ("ada", "bob", "ada"):
        leases.append(await hasty.lease(CRAWL, account, "w"))
        await tick()
        await queue.reap(CRAWL)
    filter = JobFilter(state=JobState.DEAD)
    selection = (await selections.search(filter, 0)).selection
    requeue = queue.requeue

    async def late(*args, **kwargs):
        await queue.extend(leases[-1].lease_id, "ada", Progress())
        return await requeue(*args, **kwargs)

    monkeypatch.setattr(queue, "requeue", late)
    taken = await selections.requeue(filter, selection, "x", most=10, action="")
    assert taken.verdicts == {leases[0].job: "unchanged"}
    assert len(await queue.held("ada", "w")) == 1


async def test_a_job_that_changes_while_a_search_lists_it_is_not_listed(
    queue, selections, new_crawl, monkeypatch
):
    await queue.add(new_crawl(files=2))
    gone, there = [await lease(queue, "ada") for _ in range(2)]
    rows = selections._rows

    async def late(*args):
        await queue.release(gone.lease_id, "ada", "bye")
        return await rows(*args)

    monkeypatch.setattr(selections, "_rows", late)
    answer, jobs = await found(selections)
    assert (answer.total, jobs) == (2, [there.job])


async def test_a_selection_is_good_for_its_filter_and_a_quarter_of_an_hour(
    queue, selections, new_crawl, monkeypatch
):
    await queue.add(new_crawl(files=1))
    await queue.lease(CRAWL, "ada", "w")
    filter = JobFilter(account="ada")
    selection = (await selections.search(filter, 0)).selection

    async def take(filter, selection):
        await selections.requeue(filter, selection, "x", most=1, action="")

    for wrong in ("", "x", selection[:-1] + "g", selection[:-1], f"1{selection}"):
        with pytest.raises(InvalidRequest):
            await take(filter, wrong)
    with pytest.raises(InvalidRequest, match="search again"):
        await take(JobFilter(account="bob"), selection)
    monkeypatch.setattr(module, "_GOOD_FOR", -module._GOOD_FOR)
    with pytest.raises(Conflict, match="quarter of an hour"):
        await take(filter, selection)


async def test_silence_can_be_asked_of_leases_only():
    with pytest.raises(ValueError, match="silent_for asks for leased jobs"):
        JobFilter(state=JobState.DEAD, silent_for=1)
