"""An admin's calls about crawls."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request, Response
from pydantic import ValidationError

from laion_protocol import Conflict, CrawlState, InvalidRequest, NotFound
from laion_protocol.messages import CrawlAdded, CrawlStateAnswer, Name, NewCrawl
from tracker.audit import Note
from tracker.auth import ForCrawls, ForProject, Have
from tracker.resources import Resources

from .bodies import whole
from .errors import KNOWN, first_problem, refusals
from .once import Once

router = APIRouter(
    prefix="/v1/admin/crawls",
    tags=["crawls"],
    route_class=Once,
    responses=refusals(*KNOWN, NotFound, Conflict),
)

#: A snapshot of Common Crawl lists 100,000 files in some 15 MB.
MAX_CRAWL: Final = 64 * 2**20


def _body() -> dict[str, Any]:
    """What `add` reads by itself; its parts are in the document already."""
    schema = NewCrawl.model_json_schema(ref_template="#/components/schemas/{model}")
    del schema["$defs"]
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


CrawlName = Annotated[Name, Path()]


@router.post("", openapi_extra=_body())
async def add(request: Request, admin: ForCrawls, have: Have) -> CrawlAdded:
    """Add a crawl; adding the same again changes nothing."""
    # Read here, not by the framework: only an admin may make the tracker hold so long a body.
    try:
        crawl = NewCrawl.model_validate_json(await whole(request, MAX_CRAWL))
    except ValidationError as error:
        raise InvalidRequest(first_problem(error.errors())) from error
    async with have.audit.row(admin, "crawl_add", crawl.name) as note:
        added = await have.queue.add(crawl)
        note.after = added.model_dump()
    return added


@router.post("/{name}/pause", status_code=204)
async def pause(name: CrawlName, admin: ForProject, have: Have) -> Response:
    """Hand out no more of this crawl's jobs; what is leased may be finished."""
    async with have.audit.row(admin, "crawl_pause", name, after=CrawlState.PAUSED) as note:
        await _note_state(have, name, note)
        await have.queue.pause(name)
    return Response(status_code=204)


@router.post("/{name}/resume", status_code=204)
async def resume(name: CrawlName, admin: ForProject, have: Have) -> Response:
    """Hand out this crawl's jobs again."""
    async with have.audit.row(admin, "crawl_resume", name, after=CrawlState.ACTIVE) as note:
        await _note_state(have, name, note)
        await have.queue.resume(name)
    return Response(status_code=204)


@router.post("/{name}/drain")
async def drain(name: CrawlName, admin: ForCrawls, have: Have) -> CrawlStateAnswer:
    """Hand out no more of its jobs; it is finished when nothing is leased or being verified."""
    async with have.audit.row(admin, "crawl_drain", name) as note:
        await _note_state(have, name, note)
        note.after = state = await have.queue.drain(name)
    return CrawlStateAnswer(name=name, state=state)


@router.post("/{name}/finish")
async def finish(name: CrawlName, admin: ForCrawls, have: Have) -> CrawlStateAnswer:
    """Close it now: no leases, and open ones are lost at their next heartbeat."""
    async with have.audit.row(admin, "crawl_finish", name, after=CrawlState.FINISHED) as note:
        await _note_state(have, name, note)
        await have.queue.finish(name)
    return CrawlStateAnswer(name=name, state=CrawlState.FINISHED)


@router.delete("/{name}", status_code=204)
async def remove(name: CrawlName, admin: ForCrawls, have: Have) -> Response:
    """Remove a crawl for which no result was accepted yet."""
    async with have.audit.row(admin, "crawl_remove", name) as note:
        crawl = await have.queue.crawl(name)
        note.before = {"state": crawl.state, "jobs": crawl.jobs, "recipe": crawl.recipe_sha256}
        await have.queue.remove(name)
    return Response(status_code=204)


async def _note_state(have: Resources, name: str, note: Note) -> None:
    note.before = (await have.queue.crawl(name)).state
