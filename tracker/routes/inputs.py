"""What the score stage of a job reads, where the store sends nothing by itself."""

from typing import Annotated

from fastapi import APIRouter, Path, Response
from fastapi.responses import StreamingResponse

from laion_protocol import LeaseLost, NotFound
from laion_protocol.messages import LeaseId
from laion_protocol.shard_format import FILE_NAME_PATTERN
from tracker.auth import Have, Worker
from tracker.inputs import read_input

from .bodies import FILE
from .errors import KNOWN, refusals

router = APIRouter(
    prefix="/v1/leases/{lease_id}", tags=["inputs"], responses=refusals(*KNOWN, NotFound, LeaseLost)
)

FileName = Annotated[str, Path(pattern=FILE_NAME_PATTERN)]


@router.get("/inputs/{name}", response_class=Response, responses={200: FILE})
async def fetch(lease_id: LeaseId, name: FileName, caller: Worker, have: Have) -> StreamingResponse:
    """One file of the intermediate, for the holder of this lease only."""
    held = await have.queue.open_lease(lease_id, caller.account)
    size, pieces = await read_input(held, name, have.store)
    return StreamingResponse(
        pieces,
        media_type="application/octet-stream",
        headers={"Content-Length": str(size), "Cache-Control": "private, no-store"},
    )
