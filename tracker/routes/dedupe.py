"""Which pairs are new, for workers; what is known of them, for admins."""

from fastapi import APIRouter, Response

from laion_protocol import InvalidRequest, LeaseLost, NotFound
from laion_protocol.messages import DedupeState, LeaseId, Novelty, PairKeys
from tracker.auth import ForCrawls, ForProject, Have, Worker

from .errors import KNOWN, refusals

router = APIRouter(prefix="/v1", tags=["dedupe"], responses=refusals(*KNOWN))


@router.post("/leases/{lease_id}/dedupe", responses=refusals(NotFound, LeaseLost))
async def ask(lease_id: LeaseId, request: PairKeys, caller: Worker, have: Have) -> Novelty:
    """Which pairs no other shard has or is about to have; they are this attempt's until it is
    over."""
    lease = await have.queue.open_lease(lease_id, caller.account)
    if not (await have.queue.crawl(lease.job.crawl)).recipe.dedupe:
        raise InvalidRequest("the recipe of this crawl has `dedupe` off; do not ask")
    return await have.dedupe.ask(str(lease.job), lease_id, caller.account, request.packed())


@router.get("/admin/dedupe")
async def state(_caller: ForProject, have: Have) -> DedupeState:
    """What is known of the project's pairs, at the machine that has the dedupe files."""
    return await have.dedupe.state()


@router.post("/admin/dedupe/rebuild", status_code=202, response_class=Response)
async def rebuild(admin: ForCrawls, have: Have) -> Response:
    """Make the filters anew from the accepted shards, or go on with that; `state` tells how far it
    is."""
    async with have.audit.row(admin, "dedupe_rebuild", ""):
        await have.rebuild.start()
    return Response(status_code=202)
