"""The feed of events, as server-sent events (WHATWG HTML, 9.2)."""

import logging
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from redis.exceptions import RedisError
from sse_starlette import EventSourceResponse, ServerSentEvent

from laion_protocol import Unauthorized
from tracker.auth import Have, address_of, maybe_known
from tracker.identity import Caller
from tracker.resources import Resources

from .errors import refusals

log = logging.getLogger(__name__)
router = APIRouter(prefix="/v1", tags=["events"])

#: A reader that takes nothing for so long is gone; seconds.
_SEND_TIMEOUT = 60.0


Cursor = Annotated[str | None, Query(max_length=16_384)]
LastEventId = Annotated[str | None, Header(max_length=16_384)]


async def _seat(
    request: Request, have: Have, caller: Annotated[Caller | None, Depends(maybe_known)]
) -> AsyncIterator[None]:
    """Until the answer is at its end, however it comes."""
    with have.audience.seat(address_of(request), caller.account if caller else None):
        yield


@router.get(
    "/events",
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {}}}, **refusals(Unauthorized)},
    dependencies=[Depends(_seat)],
)
async def events(
    have: Have, after: Cursor = None, last_event_id: LastEventId = None
) -> EventSourceResponse:
    """Events as they happen: after that one (the header's word before the query's), or from now."""
    cursor = last_event_id or after
    if cursor is None:
        cursor = await have.events.end()
    else:
        await have.events.read(cursor, 1)  # a wrong cursor is refused before the stream begins
    return EventSourceResponse(
        _stream(have, cursor),
        ping=have.settings.event_ping.total_seconds(),
        send_timeout=_SEND_TIMEOUT,
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _stream(have: Resources, cursor: str) -> AsyncIterator[ServerSentEvent]:
    try:
        async for logged in have.events.tail(cursor):
            yield ServerSentEvent(
                id=logged.cursor, event=logged.event.type, data=logged.event.model_dump_json()
            )
    except RedisError as error:
        log.warning("an event stream ends, Redis is away: %s", error)  # its reader comes again
