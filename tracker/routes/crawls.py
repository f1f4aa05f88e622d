"""An admin's calls about crawls."""

from typing import Annotated, Final

from fastapi import APIRouter, Path, Request, Response
from pydantic import ValidationError

from laion_protocol import InvalidRequest
from laion_protocol.messages import CrawlAdded, Name, NewCrawl
from tracker.auth import Admin, Have, OwnAdmin

from .bodies import whole
from .errors import first_problem

router = APIRouter(prefix="/v1/admin/crawls", tags=["crawls"])

#: A snapshot of Common Crawl lists 100,000 files in some 15 MB.
MAX_CRAWL: Final = 64 * 2**20

CrawlName = Annotated[Name, Path()]


@router.post("")
async def add(request: Request, admin: OwnAdmin, have: Have) -> CrawlAdded:
    """Add a crawl; adding the same again changes nothing."""
    # Read here, not by the framework: only an admin may make the tracker hold so long a body.
    try:
        crawl = NewCrawl.model_validate_json(await whole(request, MAX_CRAWL))
    except ValidationError as error:
        raise InvalidRequest(first_problem(error.errors())) from error
    async with have.audit.row(admin, "crawl_add", crawl.name):
        return await have.queue.add(crawl)


@router.post("/{name}/pause", status_code=204)
async def pause(name: CrawlName, admin: Admin, have: Have) -> Response:
    """Hand out no more of this crawl's jobs; what is leased may be finished."""
    async with have.audit.row(admin, "crawl_pause", name):
        await have.queue.pause(name)
    return Response(status_code=204)


@router.post("/{name}/resume", status_code=204)
async def resume(name: CrawlName, admin: Admin, have: Have) -> Response:
    """Hand out this crawl's jobs again."""
    async with have.audit.row(admin, "crawl_resume", name):
        await have.queue.resume(name)
    return Response(status_code=204)
