"""An admin's calls about jobs: which hang, which are dead, take them back, undo that."""

import secrets
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query

from laion_protocol import Conflict, NotFound
from laion_protocol.messages import (
    ActionId,
    ActionRow,
    Actions,
    FindJobs,
    FoundJob,
    FoundJobs,
    JobDetail,
    Name,
    OpenJob,
    Requeue,
    Requeued,
    RequeueSelection,
    SelectionRequeued,
    StaleJobs,
    Undo,
    Undone,
)
from tracker.auth import ForJobs, Have
from tracker.identity import Caller
from tracker.queue import FoundJob as QueuedJob
from tracker.queue import HeldLease, JobRef
from tracker.queue.selection import action_of
from tracker.queue.undo import Action
from tracker.resources import Resources

from .errors import KNOWN, refusals
from .job_detail import detail
from .once import Once

router = APIRouter(
    prefix="/v1/admin",
    tags=["jobs"],
    route_class=Once,
    responses=refusals(*KNOWN, NotFound, Conflict),
)

Seconds = Annotated[float | None, Query(ge=0, le=10**7)]
#: jobs named in one answer
_NAMED: Final = 1000


@router.get("/jobs/stale")
async def stale_jobs(
    _admin: ForJobs,
    have: Have,
    crawl: Annotated[Name | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 25,
    silent_for: Seconds = None,
) -> StaleJobs:
    """Leased jobs without a heartbeat for `silent_for` seconds (default: two heartbeats)."""
    silent = 2 * have.settings.heartbeat if silent_for is None else timedelta(seconds=silent_for)
    names = [crawl] if crawl is not None else [row.name for row in await have.queue.crawls()]
    total = 0
    leases: list[HeldLease] = []
    for name in names:
        stale = await have.queue.stale(name, silent, limit)
        total += stale.total
        leases += stale.leases
    leases.sort(key=lambda lease: lease.beat_at)
    jobs = [await _open_job(have, lease) for lease in leases[:limit]]
    return StaleJobs(total=total, jobs=tuple(jobs))


@router.post("/jobs/search")
async def search(request: FindJobs, _admin: ForJobs, have: Have) -> FoundJobs:
    """The jobs that a filter means now, and a selection that stands for them."""
    if request.filter.account is not None:
        await have.accounts.row(request.filter.account)  # a name that was mistyped fits no job
    found = await have.selections.search(request.filter, request.limit)
    return FoundJobs(
        total=found.total,
        jobs=tuple([await _found_job(have, job) for job in found.jobs]),
        as_of=found.as_of,
        selection=found.selection,
    )


@router.post("/jobs/requeue")
async def requeue(request: Requeue, admin: ForJobs, have: Have) -> Requeued:
    """Take the named jobs from their workers, or from the dead letters."""
    refs = {job: JobRef.parse(job) for job in request.jobs}
    action = "" if request.dry_run else secrets.token_hex(8)
    result = "dry_run" if request.dry_run else "ok"
    async with have.audit.row(
        admin, "jobs_requeue", " ".join(request.jobs), reason=request.reason, result=result
    ) as note:
        if action:
            crawls = dict.fromkeys(ref.crawl for ref in refs.values())
            await _open_action(have, admin, action, "requeue", request.reason, crawls)
        verdicts = await have.queue.requeue(
            refs.values(),
            request.reason,
            silent_since=request.silent_since,
            action=action,
            dry_run=request.dry_run,
        )
        changed = "requeued" in verdicts.values()
        note.after = {"action": action, "verdicts": Counter(verdicts.values())}
    return Requeued(
        dry_run=request.dry_run,
        jobs={job: verdicts[ref] for job, ref in refs.items()},
        action=action if changed else "",
    )


@router.post("/jobs/requeue-selection")
async def requeue_selection(
    request: RequeueSelection, admin: ForJobs, have: Have
) -> SelectionRequeued:
    """Take back the jobs that a search showed, and that have not changed since."""
    action, filter = action_of(request.selection), request.filter
    said = filter.model_dump_json(exclude_none=True)
    async with have.audit.row(admin, "jobs_requeue", said, reason=request.reason) as note:
        crawls = [filter.crawl] if filter.crawl else [c.name for c in await have.queue.crawls()]
        have.selections.check(filter, request.selection)
        await _open_action(have, admin, action, "requeue", request.reason, crawls)
        taken = await have.selections.requeue(
            filter, request.selection, request.reason, most=request.most, action=action
        )
        done = (await have.actions.find(action)).changed
        answer = SelectionRequeued(
            action=action,
            selected=taken.selected,
            verdicts=Counter(taken.verdicts.values()),
            jobs={str(job): said for job, said in list(taken.verdicts.items())[:_NAMED]},
            gone=max(0, taken.selected - done - taken.left),
            left=taken.left,
        )
        note.after = answer.model_dump(exclude={"jobs"})
    return answer


@router.get("/actions")
async def actions(
    _admin: ForJobs, have: Have, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> Actions:
    """The bulk actions of the last day, newest first; each can be undone."""
    return Actions(rows=tuple(_action_row(row) for row in await have.actions.rows(limit)))


@router.post("/actions/{action}/undo")
async def undo(
    action: Annotated[ActionId, Path()], request: Undo, admin: ForJobs, have: Have
) -> Undone:
    """Put back what nobody has touched since: leased under the same lease, or dead again."""
    result = "dry_run" if request.dry_run else "ok"
    async with have.audit.row(
        admin, "jobs_undo", action, reason=request.reason, result=result
    ) as note:
        verdicts = await have.actions.undo(action, dry_run=request.dry_run)
        # those that could not be put back first: they are what somebody must look at
        in_order = sorted(verdicts.items(), key=lambda item: item[1] == "undone")
        answer = Undone(
            action=action,
            dry_run=request.dry_run,
            verdicts=Counter(verdicts.values()),
            jobs={str(job): said for job, said in in_order[:_NAMED]},
        )
        note.after = answer.verdicts
    return answer


@router.get("/jobs/{crawl}/{index}")
async def show(
    crawl: Annotated[Name, Path()],
    index: Annotated[int, Path(ge=0, lt=10**12)],
    _admin: ForJobs,
    have: Have,
) -> JobDetail:
    """All that is known of one job."""
    return detail(await have.queue.job(JobRef(crawl, index)))


async def _open_action(
    have: Resources, admin: Caller, action: str, verb: str, reason: str, crawls: Iterable[str]
) -> None:
    await have.actions.open(
        Action(
            id=action,
            time=datetime.now(UTC),
            actor=admin.account,
            via=admin.act or "",
            verb=verb,
            reason=reason,
            crawls=tuple(crawls),
        )
    )


async def _open_job(have: Resources, lease: HeldLease) -> OpenJob:
    chunk = await have.queue.chunk(lease.job)
    return OpenJob(
        job=str(lease.job),
        source=chunk.source,
        part=chunk.part,
        account=lease.account,
        worker=lease.worker,
        attempt=lease.attempt,
        leased_at=lease.leased_at,
        last_heartbeat=lease.beat_at,
        deadline=lease.deadline,
        progress=lease.progress,
    )


async def _found_job(have: Resources, found: QueuedJob) -> FoundJob:
    chunk, ended = await have.queue.chunk(found.job), found.ended
    return FoundJob(
        job=str(found.job),
        source=chunk.source,
        part=chunk.part,
        state=found.state,
        since=found.since,
        account=found.attempt.account,
        worker=found.attempt.worker,
        attempt=found.attempt.number,
        last_heartbeat=found.beat_at,
        deadline=found.deadline,
        progress=found.progress,
        outcome=ended.outcome if ended else None,
        failure_class=ended.failure_class if ended else None,
        message=ended.message if ended else "",
    )


def _action_row(action: Action) -> ActionRow:
    return ActionRow(
        action=action.id,
        time=action.time,
        expires=action.expires,
        actor=action.actor,
        via=action.via,
        verb=action.verb,
        reason=action.reason,
        jobs=action.changed,
        undone=action.undone,
    )
