"""Admins look for jobs, take many back at once, and undo it: over HTTP, and written down."""

import asyncio
from datetime import timedelta

import pytest

from laion_protocol import (
    CrawlState,
    FailureClass,
    Forbidden,
    IdleReason,
    InvalidRequest,
    JobState,
    LeaseLost,
    NotFound,
    Outcome,
    Role,
)
from laion_protocol.messages import (
    DelegationRequest,
    Failure,
    FindJobs,
    Heartbeat,
    JobFilter,
    LeaseRequest,
    Release,
    Requeue,
    RequeueSelection,
    Undo,
)

ASK = LeaseRequest(worker="pc", version="0.1.0")
ALL = JobFilter()


async def lease(worker, name="pc"):
    return (await worker.lease(ASK.model_copy(update={"worker": name}))).lease


async def last_audit(admin):
    return (await admin.audit(1)).rows[0]


async def test_a_search_its_requeue_and_the_undo(tracker):
    await tracker.add_crawl("A", files=3)
    admin, worker = await tracker.admin(), await tracker.worker("ann")
    leases = [await lease(worker) for _ in range(3)]
    filter = JobFilter(account="ann", crawl="A", path="warc/*.gz")
    found = await admin.search_jobs(FindJobs(filter=filter, limit=2))
    assert (found.total, len(found.jobs)) == (3, 2)
    job = next(lease for lease in leases if lease.job == found.jobs[0].job)
    assert (found.jobs[0].source, found.jobs[0].worker, found.jobs[0].attempt) == (
        job.source, "pc", 1,
    )  # fmt: skip
    request = RequeueSelection(filter=filter, selection=found.selection, reason="gone", most=2)
    first = await admin.requeue_selection(request)
    assert (first.selected, first.verdicts, first.left, first.gone) == (3, {"requeued": 2}, 1, 0)
    row = await last_audit(admin)
    assert (row.action, row.reason, row.result) == ("jobs_requeue", "gone", "ok")
    assert '"account":"ann"' in row.target
    assert row.after["action"] == first.action
    second = await admin.requeue_selection(request)  # goes on, under the same action
    assert (second.action, second.verdicts, second.left) == (first.action, {"requeued": 1}, 0)
    assert list(first.jobs | second.jobs) != []
    with pytest.raises(LeaseLost):
        await worker.heartbeat(leases[0].lease_id, Heartbeat())

    [action] = (await admin.actions()).rows
    assert (action.action, action.jobs, action.undone, action.reason) == (
        first.action,
        3,
        0,
        "gone",
    )
    assert action.expires - action.time == timedelta(days=1)
    await tracker.redis.zadd("crawl:{A}:retry", {"2": 1})  # bob gets the last of them
    other = await lease(await tracker.worker("bob"))
    told = await admin.undo(first.action, Undo(reason="my mistake", dry_run=True))
    assert told.verdicts == {"undone": 2, "taken": 1}
    assert (await last_audit(admin)).result == "dry_run"
    undone = await admin.undo(first.action, Undo(reason="my mistake"))
    assert (undone.verdicts, undone.dry_run) == (told.verdicts, False)
    assert undone.jobs == told.jobs
    assert next(iter(undone.jobs.items())) == (other.job, "taken")
    row = await last_audit(admin)
    assert (row.action, row.target, row.reason) == ("jobs_undo", first.action, "my mistake")
    for mine in leases:
        if mine.job != other.job:
            await worker.heartbeat(mine.lease_id, Heartbeat())
    assert (await admin.actions()).rows[0].undone == 2


async def test_jobs_that_changed_between_look_and_act_are_counted_as_gone(tracker):
    await tracker.add_crawl("A", files=3)
    admin, worker = await tracker.admin(), await tracker.worker("ann")
    leases = [await lease(worker) for _ in range(3)]
    found = await admin.search_jobs(FindJobs(filter=ALL))
    await worker.release(leases[0].lease_id, Release(reason="bye"))
    answer = await admin.requeue_selection(
        RequeueSelection(filter=ALL, selection=found.selection, reason="x")
    )
    assert (answer.selected, answer.verdicts, answer.gone) == (3, {"requeued": 2}, 1)


async def test_named_jobs_can_be_undone_too(tracker):
    await tracker.add_crawl("A")
    admin, worker = await tracker.admin(), await tracker.worker("ann")
    mine = await lease(worker)
    dry = await admin.requeue(Requeue(jobs=(mine.job,), reason="x", dry_run=True))
    assert dry.action == ""
    done = await admin.requeue(Requeue(jobs=(mine.job, "A/99"), reason="x"))
    undone = await admin.undo(done.action, Undo(reason="oops"))
    assert undone.jobs == {mine.job: "undone"}
    await worker.heartbeat(mine.lease_id, Heartbeat())
    lost = Requeue(jobs=(mine.job,), reason="y")
    once, again = [await admin.requeue(lost, key="click 7") for _ in range(2)]
    assert once == again
    assert once.jobs == {mine.job: "requeued"}
    nothing = await admin.requeue(Requeue(jobs=("A/99",), reason="x"))
    assert nothing.action == ""
    assert len((await admin.actions()).rows) == 2


async def test_a_job_is_shown_with_all_its_attempts(tracker):
    await tracker.add_crawl("A", files=2)
    admin, ann = await tracker.admin(), await tracker.worker("ann")
    mine = await lease(ann)
    await ann.fail(mine.lease_id, Failure(failure_class=FailureClass.WORKER, message="disk full"))
    shown = await admin.job(mine.job)
    [attempt] = shown.attempts
    assert (attempt.account, attempt.outcome, attempt.failure_class, attempt.message) == (
        "ann", Outcome.FAILED, FailureClass.WORKER, "disk full",
    )  # fmt: skip
    assert (shown.state, shown.source, shown.deadline) == (JobState.PENDING, mine.source, None)
    assert shown.not_before is not None
    held = await lease(await tracker.worker("bob"))
    shown = await admin.job(held.job)
    assert (shown.state, shown.deadline, shown.ahead) == (JobState.LEASED, held.deadline, None)
    for nothing in ("A/2", "B/0"):
        with pytest.raises(NotFound):
            await admin.job(nothing)


async def test_only_who_looks_after_jobs_may_search_and_undo(tracker):
    await tracker.add_crawl("A")
    worker = await tracker.worker("ann")
    await lease(worker)
    for call in (
        lambda: worker.search_jobs(FindJobs(filter=ALL)),
        lambda: worker.requeue_selection(RequeueSelection(filter=ALL, selection="x", reason="x")),
        lambda: worker.actions(),
        lambda: worker.undo("0" * 16, Undo(reason="x")),
        lambda: worker.job("A/0"),
        lambda: worker.drain_crawl("A"),
        lambda: worker.finish_crawl("A"),
        lambda: worker.remove_crawl("A"),
    ):
        with pytest.raises(Forbidden, match="ann"):
            await call()
    moderator = await tracker.client(await tracker.account("mia", Role.MODERATOR))
    found = await moderator.search_jobs(FindJobs(filter=ALL))
    await moderator.requeue_selection(
        RequeueSelection(filter=ALL, selection=found.selection, reason="x")
    )
    with pytest.raises(Forbidden):
        await moderator.finish_crawl("A")


async def test_a_bot_may_do_it_for_an_admin_and_both_are_named(tracker):
    await tracker.account("lead", Role.ADMIN, discord_id="1")
    bot = await tracker.client(await tracker.account("robo", Role.BOT))
    await tracker.add_crawl("A")
    await lease(await tracker.worker("ann"))
    token = (await bot.delegate(DelegationRequest(discord_id="1", interaction_id="7"))).token
    found = await bot.search_jobs(FindJobs(filter=ALL), token=token)
    request = RequeueSelection(filter=ALL, selection=found.selection, reason="x")
    done = await bot.requeue_selection(request, token=token)
    [row] = (await bot.actions(token=token)).rows
    assert (row.action, row.actor, row.via) == (done.action, "lead", "robo")
    with pytest.raises(Forbidden, match="your own token"):
        await bot.drain_crawl("A", token=token)


async def test_a_wrong_selection_changes_nothing_and_is_written_down(tracker):
    await tracker.add_crawl("A")
    admin, worker = await tracker.admin(), await tracker.worker("ann")
    mine = await lease(worker)
    found = await admin.search_jobs(FindJobs(filter=JobFilter(worker="no-such")))
    assert (found.total, found.selection) == (0, "")
    with pytest.raises(InvalidRequest, match="search again"):
        await admin.requeue_selection(
            RequeueSelection(filter=ALL, selection=found.selection, reason="x")
        )
    assert (await last_audit(admin)).result == "invalid_request"
    assert (await admin.actions()).rows == ()
    assert await tracker.redis.keys("{actions}*") == []
    with pytest.raises(NotFound):
        await admin.undo("0" * 16, Undo(reason="x"))
    await worker.heartbeat(mine.lease_id, Heartbeat())


async def test_a_crawl_runs_dry_and_is_finished_and_resumed(tracker):
    await tracker.add_crawl("A")
    admin, worker = await tracker.admin(), await tracker.worker("ann")
    mine = await lease(worker)
    assert (await admin.drain_crawl("A")).state is CrawlState.DRAINING
    row = await last_audit(admin)
    assert (row.action, row.before, row.after) == ("crawl_drain", "active", "draining")
    await worker.release(mine.lease_id, Release(reason="bye"))
    await asyncio.sleep(0.3)  # the numbers are counted afresh a few times a second
    [crawl] = await admin.crawls()
    assert crawl.state is CrawlState.FINISHED
    await admin.resume_crawl("A")
    mine = await lease(worker)
    assert (await admin.finish_crawl("A")).state is CrawlState.FINISHED
    with pytest.raises(LeaseLost):
        await worker.heartbeat(mine.lease_id, Heartbeat())


async def test_a_crawl_that_nobody_worked_on_is_removed(tracker):
    await tracker.add_crawl("A")
    admin = await tracker.admin()
    await admin.remove_crawl("A")
    await asyncio.sleep(0.3)
    assert await admin.crawls() == ()
    row = await last_audit(admin)
    assert (row.action, row.before["jobs"]) == ("crawl_remove", 3)
    with pytest.raises(NotFound):
        await admin.remove_crawl("A")
    assert (await (await tracker.worker("ann")).lease(ASK)).idle.reason is IdleReason.NO_WORK
