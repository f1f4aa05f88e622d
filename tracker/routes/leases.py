"""A worker's calls about its jobs."""

import logging
from collections.abc import AsyncIterator
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Query

from laion_protocol import (
    CrawlState,
    FailureClass,
    LeaseLost,
    NotFound,
    UploadMismatch,
    WorkerState,
)
from laion_protocol.messages import (
    Completion,
    Failure,
    Heartbeat,
    HeartbeatAnswer,
    HeldLeases,
    LeaseAnswer,
    LeaseId,
    LeaseRequest,
    Name,
    ProjectState,
    Receipt,
    Release,
)
from tracker.admission import Ask, state_message
from tracker.auth import Have, Leaser, Worker
from tracker.identity import Caller
from tracker.inputs import lost_intermediate
from tracker.queue import Extended
from tracker.resources import Resources
from tracker.shard_store import missing, shard_prefix

from .errors import KNOWN, refusals

log = logging.getLogger(__name__)

router = APIRouter(prefix="/v1/leases", tags=["leases"], responses=refusals(*KNOWN))
_OF_A_LEASE: Final = refusals(NotFound, LeaseLost)

Directive = Literal["continue", "pause", "drain"]
#: What becomes of a job whose crawl is not active: its worker goes on.
_CRAWL_MESSAGES: Final = {
    CrawlState.PAUSED: "the crawl is paused; this job may be finished",
    CrawlState.DRAINING: "the crawl is coming to its end; this job may be finished",
}


async def _turn(have: Have) -> AsyncIterator[None]:
    """Lease calls queue for it before anything else is done for them: who beats or hands in finds
    the process, and its connections to Redis, free. It ends before the answer is sent: who reads
    slowly keeps nobody waiting."""
    async with have.turnstile.turn():
        yield


@router.post("")
async def lease(
    request: LeaseRequest,
    _in_turn: Annotated[None, Depends(_turn, scope="function")],
    caller: Leaser,
    have: Have,
) -> LeaseAnswer:
    """A job, or the reason why there is none."""
    standing = await have.workers.seen(
        caller.account, request.worker, version=request.version, stages=request.stages
    )
    banned, draining = caller.banned, caller.draining
    if standing.state is WorkerState.BANNED:
        banned = banned or standing.reason or "no reason was given"
    if standing.state is WorkerState.DRAINING:
        draining = draining or standing.reason or "no reason was given"
    return await have.leasing.lease(
        Ask(
            account=caller.account,
            worker=request.worker,
            version=request.version,
            stages=frozenset(request.stages),
            banned=banned,
            draining=draining,
        )
    )


@router.get("")
async def held(worker: Annotated[Name, Query()], caller: Worker, have: Have) -> HeldLeases:
    """What this worker holds, after a crash or a lost answer."""
    leases = await have.queue.held(caller.account, worker)
    return HeldLeases(leases=tuple([await have.leasing.describe(lease) for lease in leases]))


@router.get("/{lease_id}", responses=_OF_A_LEASE)
async def receipt(lease_id: LeaseId, caller: Worker, have: Have) -> Receipt:
    """What has become of a lease."""
    return await have.queue.receipt(lease_id, caller.account)


@router.post("/{lease_id}/heartbeat", responses=_OF_A_LEASE)
async def heartbeat(
    lease_id: LeaseId, beat: Heartbeat, caller: Worker, have: Have
) -> HeartbeatAnswer:
    """Extend the lease; hear what else there is to know."""
    extended = await have.queue.extend(lease_id, caller.account, beat.progress)
    state = await have.project.state()
    directive, message = await _directive(extended, caller, state, have)
    return HeartbeatAnswer(
        deadline=extended.deadline,
        directive=directive,
        message=message,
        announcements=state.announcements,
    )


async def _directive(
    extended: Extended, caller: Caller, state: ProjectState, have: Resources
) -> tuple[Directive, str]:
    """`pause`: stop at once and beat on, the lease is kept; `drain`: finish what is held, and ask
    for no more; `continue`: whatever the message says, go on."""
    draining = caller.draining
    if caller.worker != extended.worker:  # a client that does not say which worker it is
        standing = await have.workers.seen(caller.account, extended.worker)
        if standing.state is WorkerState.DRAINING:
            draining = draining or standing.reason or "no reason was given"
    if state.paused is not None:
        return "pause", state_message(state)
    if draining is not None:
        return "drain", f"this worker is to run dry: {draining}"
    return "continue", state_message(state) or _CRAWL_MESSAGES.get(extended.crawl_state, "")


@router.post("/{lease_id}/complete", responses=_OF_A_LEASE | refusals(UploadMismatch))
async def complete(
    lease_id: LeaseId, completion: Completion, caller: Worker, have: Have
) -> Receipt:
    """Take an uploaded shard in for verification; safe to repeat."""
    manifest = completion.manifest
    try:
        lease = await have.queue.open_lease(lease_id, caller.account)
    except LeaseLost:
        # A repeat gets its receipt again, and who lost the job to another's result is thanked;
        # anybody else hears why not. Nothing is handed in here: the lease may be open again by
        # now, and this manifest was not looked at.
        return await have.queue.replicate(lease_id, caller.account, manifest)
    await have.leasing.check_manifest(lease, manifest)
    for file in await missing(have.store, shard_prefix(lease_id), manifest.files):
        raise UploadMismatch(
            f"{file.name}: the tracker has no such file of {file.size} bytes with SHA-256 "
            f"{file.sha256}; upload it, then complete again"
        )
    return await have.queue.complete(lease_id, caller.account, manifest)


@router.post("/{lease_id}/release", responses=_OF_A_LEASE)
async def release(lease_id: LeaseId, request: Release, caller: Worker, have: Have) -> Receipt:
    """Take the job back, at no cost to anybody; safe to repeat."""
    receipt = await have.queue.release(lease_id, caller.account, request.reason)
    await have.store.remove(shard_prefix(lease_id))
    return receipt


@router.post("/{lease_id}/fail", responses=_OF_A_LEASE)
async def fail(lease_id: LeaseId, failure: Failure, caller: Worker, have: Have) -> Receipt:
    """End the attempt as failed; safe to repeat. A score stage that fails by the server may tell
    that its intermediate is lost: then the job is to be fetched anew."""
    lost = None
    if failure.failure_class is FailureClass.SERVER:
        lost = await lost_intermediate(lease_id, caller.account, have.queue, have.store)
    receipt = await have.queue.fail(
        lease_id, caller.account, failure.failure_class, failure.message
    )
    if lost is not None and await have.queue.refetch(lost):
        have.meter.count("intermediates_lost")
        log.error("%s: its intermediate is lost, it is to be fetched anew", receipt.job)
    await have.store.remove(shard_prefix(lease_id))
    return receipt
