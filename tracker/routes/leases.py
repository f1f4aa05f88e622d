"""A worker's calls about its jobs."""

from typing import Annotated, Final

from fastapi import APIRouter, Query

from laion_protocol import CrawlState, JobState, LeaseLost, Outcome, UploadMismatch
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
    Receipt,
    Release,
)
from tracker.auth import Have, Worker
from tracker.storage import shard_prefix

router = APIRouter(prefix="/v1/leases", tags=["leases"])

#: What only the check of a shard ends in.
_CHECKED: Final = (Outcome.OK, Outcome.LATE_OK, Outcome.INVALID)


@router.post("")
async def lease(request: LeaseRequest, caller: Worker, have: Have) -> LeaseAnswer:
    """A job, or the reason why there is none."""
    await have.statistics.seen(caller.account, request.worker)
    return await have.leasing.lease(caller.account, request.worker)


@router.get("")
async def held(worker: Annotated[Name, Query()], caller: Worker, have: Have) -> HeldLeases:
    """What this worker holds, after a crash or a lost answer."""
    leases = await have.queue.held(caller.account, worker)
    return HeldLeases(leases=tuple([await have.leasing.describe(lease) for lease in leases]))


@router.get("/{lease_id}")
async def receipt(lease_id: LeaseId, caller: Worker, have: Have) -> Receipt:
    """What has become of a lease."""
    return await have.queue.receipt(lease_id, caller.account)


@router.post("/{lease_id}/heartbeat")
async def heartbeat(
    lease_id: LeaseId, beat: Heartbeat, caller: Worker, have: Have
) -> HeartbeatAnswer:
    """Extend the lease."""
    extended = await have.queue.extend(lease_id, caller.account, beat.progress)
    lease = await have.queue.open_lease(lease_id, caller.account)
    await have.statistics.seen(caller.account, lease.worker)
    paused = extended.crawl_state is CrawlState.PAUSED
    return HeartbeatAnswer(
        deadline=extended.deadline,
        message="the crawl is paused; this job may be finished" if paused else "",
    )


@router.post("/{lease_id}/complete")
async def complete(
    lease_id: LeaseId, completion: Completion, caller: Worker, have: Have
) -> Receipt:
    """Take an uploaded shard in for verification; safe to repeat."""
    manifest = completion.manifest
    try:
        lease = await have.queue.open_lease(lease_id, caller.account)
    except LeaseLost:
        # A repeat gets its receipt again; anybody else hears why not. Nothing is handed in here:
        # the lease may be open again by now, and this manifest was not looked at.
        receipt = await have.queue.receipt(lease_id, caller.account)
        if not _handed_in(receipt):
            raise
        return receipt
    await have.leasing.check_manifest(lease, manifest)
    prefix = shard_prefix(lease_id)
    for file in manifest.files:
        if not await have.store.present(prefix, file.name, size=file.size, sha256=file.sha256):
            raise UploadMismatch(
                f"{file.name}: the tracker has no such file of {file.size} bytes with SHA-256 "
                f"{file.sha256}; upload it, then complete again"
            )
    return await have.queue.complete(lease_id, caller.account, manifest)


@router.post("/{lease_id}/release")
async def release(lease_id: LeaseId, request: Release, caller: Worker, have: Have) -> Receipt:
    """Take the job back, at no cost to anybody; safe to repeat."""
    receipt = await have.queue.release(lease_id, caller.account, request.reason)
    await have.store.remove(shard_prefix(lease_id))
    return receipt


@router.post("/{lease_id}/fail")
async def fail(lease_id: LeaseId, failure: Failure, caller: Worker, have: Have) -> Receipt:
    """End the attempt as failed; safe to repeat."""
    receipt = await have.queue.fail(
        lease_id, caller.account, failure.failure_class, failure.message
    )
    await have.store.remove(shard_prefix(lease_id))
    return receipt


def _handed_in(receipt: Receipt) -> bool:
    """Whether a shard came under this lease. While another lease's shard is checked, this one
    has ended."""
    if receipt.outcome is None:
        return receipt.state is JobState.VERIFYING
    return receipt.outcome in _CHECKED
