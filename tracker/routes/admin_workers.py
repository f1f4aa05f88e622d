"""An admin's calls about who takes part: list, drain, ban and pardon, a worker or an account."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query

from laion_protocol import Conflict, Forbidden, InvalidRequest, NotFound, Role, Scope, WorkerState
from laion_protocol.messages import Fleet, Name, Treat, Treated
from tracker.auth import ForWorkers, Have
from tracker.identity import Caller
from tracker.resources import Resources

from .errors import KNOWN, refusals
from .once import Once

router = APIRouter(
    prefix="/v1/admin",
    tags=["workers"],
    route_class=Once,
    responses=refusals(*KNOWN, NotFound, Conflict),
)

Account = Annotated[Name, Path()]
Worker = Annotated[Name, Path()]
Verb = Literal["drain", "ban", "pardon"]

_STATES: dict[Verb, WorkerState] = {
    "drain": WorkerState.DRAINING,
    "ban": WorkerState.BANNED,
    "pardon": WorkerState.ACTIVE,
}


@router.get("/workers")
async def fleet(
    _admin: ForWorkers,
    have: Have,
    account: Annotated[Name | None, Query()] = None,
    state: Annotated[WorkerState | None, Query()] = None,
    seen_within: Annotated[float | None, Query(ge=0, le=10**8)] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
) -> Fleet:
    """The workers that were ever seen, or those that fit; `seen_within` in seconds."""
    if account is not None:
        await have.accounts.row(account)
    since = None if seen_within is None else datetime.now(UTC) - timedelta(seconds=seen_within)
    return Fleet(
        rows=await have.workers.rows(account=account, state=state, seen_since=since, limit=limit)
    )


@router.post("/workers/{account}/{worker}/{verb}")
async def treat_worker(
    account: Account, worker: Worker, verb: Verb, treat: Treat, admin: ForWorkers, have: Have
) -> Treated:
    """Drain: no more jobs. Ban: nothing of it is taken, and its jobs are. Pardon: as any other."""
    return await _treat(have, admin, account, worker, verb, treat)


@router.post("/accounts/{account}/{verb}")
async def treat_account(
    account: Account, verb: Verb, treat: Treat, admin: ForWorkers, have: Have
) -> Treated:
    """The same for all workers of an account, also for those to come."""
    return await _treat(have, admin, account, None, verb, treat)


async def _treat(
    have: Resources, admin: Caller, account: str, worker: str | None, verb: Verb, treat: Treat
) -> Treated:
    wanted, target = _STATES[verb], account if worker is None else f"{account}/{worker}"
    kind = "account" if worker is None else "worker"
    result = "dry_run" if treat.dry_run else "ok"
    async with have.audit.row(
        admin, f"{kind}_{verb}", target, reason=treat.reason, result=result
    ) as note:
        await _may_treat(have, admin, account)
        _check_until(wanted, treat.until)
        before = await _state(have, account, worker)
        note.before = before
        cancelled = 0
        if not treat.dry_run:
            await have.workers.set_state(
                account, worker, wanted, reason=treat.reason, by=admin.account, until=treat.until
            )
            if wanted is WorkerState.BANNED:  # banned first: nothing is leased in between
                cancelled = await have.queue.cancel(account, worker, f"banned: {treat.reason}")
            elif wanted is WorkerState.ACTIVE:
                await _forgive(have, account, worker)
            until = None if treat.until is None else treat.until.isoformat()
            note.after = {"state": wanted, "until": until, "cancelled": cancelled}
    return Treated(
        account=account, worker=worker, dry_run=treat.dry_run,
        before=before, state=wanted, cancelled=cancelled,
    )  # fmt: skip


async def _may_treat(have: Resources, admin: Caller, account: str) -> None:
    """Volunteers are anybody's to treat who may treat workers; the project's own people are not."""
    role = (await have.accounts.row(account)).role
    if account == admin.account:
        raise InvalidRequest("this is your own account; ask another admin")
    if role is not Role.VOLUNTEER and Scope.ACCOUNTS not in admin.scopes:
        raise Forbidden(
            f"{account!r} is the account of a {role}; that takes an admin with a token of their own"
        )


def _check_until(wanted: WorkerState, until: datetime | None) -> None:
    if until is None:
        return
    if wanted is WorkerState.ACTIVE:
        raise InvalidRequest("until: a pardon has no end")
    if until <= datetime.now(UTC):
        raise InvalidRequest("until: this time is over")


async def _state(have: Resources, account: str, worker: str | None) -> WorkerState:
    if worker is None:
        return (await have.accounts.row(account)).state
    return (await have.workers.row(account, worker)).state


async def _forgive(have: Resources, account: str, worker: str | None) -> None:
    """What made a worker wait because its jobs failed is forgotten too."""
    workers = [worker] if worker else [row.name for row in await have.workers.rows(account=account)]
    crawls = [crawl.name for crawl in await have.queue.crawls()]
    await have.failures.forgive(crawls, account, workers)
