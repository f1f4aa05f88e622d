"""An admin's calls about jobs, accounts and model files; and the log of all of them."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from laion_protocol.messages import (
    AccountAdded,
    Accounts,
    AuditLog,
    Name,
    NewAccount,
    OpenJob,
    Requeue,
    Requeued,
    StaleJobs,
)
from tracker.auth import Admin, Have, OwnAdmin
from tracker.model_files import MAX_MODEL_BYTES
from tracker.queue import HeldLease, JobRef
from tracker.resources import Resources

from .bodies import announced_size, pieces
from .files import Sha256
from .uploads import check_room

router = APIRouter(prefix="/v1/admin", tags=["admin"])

AccountName = Annotated[Name, Path()]
Seconds = Annotated[float | None, Query(ge=0, le=10**7)]


@router.post("/accounts")
async def add_account(new: NewAccount, admin: OwnAdmin, have: Have) -> AccountAdded:
    """Make an account; the answer holds its token, once."""
    async with have.audit.row(admin, "account_add", new.name, reason=f"role {new.role}"):
        token = await have.accounts.add(new.name, new.role, new.discord_id)
    return AccountAdded(name=new.name, role=new.role, token=token)


@router.get("/accounts")
async def list_accounts(_admin: OwnAdmin, have: Have) -> Accounts:
    """Every account, without tokens."""
    return Accounts(rows=await have.accounts.rows())


@router.post("/accounts/{name}/revoke", status_code=204)
async def revoke_account(name: AccountName, admin: OwnAdmin, have: Have) -> Response:
    """From now on none of the account's tokens is taken."""
    async with have.audit.row(admin, "account_revoke", name):
        await have.accounts.revoke(name)
    return Response(status_code=204)


@router.post("/accounts/{name}/token")
async def renew_token(name: AccountName, admin: OwnAdmin, have: Have) -> AccountAdded:
    """A new token in place of the account's old ones, e.g. when it was lost."""
    async with have.audit.row(admin, "account_token", name):
        role, token = await have.accounts.renew(name)
    return AccountAdded(name=name, role=role, token=token)


@router.put("/files/{sha256}", status_code=204)
async def put_file(sha256: Sha256, request: Request, admin: OwnAdmin, have: Have) -> Response:
    """Keep a file that recipes name by its hash; the hash is checked."""
    size = announced_size(request, MAX_MODEL_BYTES)
    async with have.audit.row(admin, "file_put", sha256):
        await check_room(have, size)
        await have.files.put(sha256, pieces(request, size), size)
    return Response(status_code=204)


@router.get("/jobs/stale")
async def stale_jobs(
    _admin: Admin,
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


@router.post("/jobs/requeue")
async def requeue(request: Requeue, admin: Admin, have: Have) -> Requeued:
    """Take jobs from their workers, or from the dead letters."""
    refs = {job: JobRef.parse(job) for job in request.jobs}
    result = "dry_run" if request.dry_run else "ok"
    async with have.audit.row(
        admin, "jobs_requeue", " ".join(request.jobs), reason=request.reason, result=result
    ):
        verdicts = await have.queue.requeue(
            refs.values(),
            request.reason,
            silent_since=request.silent_since,
            dry_run=request.dry_run,
        )
    return Requeued(dry_run=request.dry_run, jobs={job: verdicts[ref] for job, ref in refs.items()})


@router.get("/audit")
async def audit(
    _admin: Admin, have: Have, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> AuditLog:
    """Who changed what, and what was refused; newest first."""
    return AuditLog(rows=await have.audit.rows(limit))


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
