"""Heartbeats past FastAPI's machinery, which costs more than all the rest of a heartbeat.

Most requests of a fleet are heartbeats. `leases.heartbeat` is the same call as FastAPI knows it:
it stands in the OpenAPI document, and a test holds the two to the same answers.
"""

import re
from http import HTTPStatus
from types import SimpleNamespace
from typing import Final

from pydantic import TypeAdapter, ValidationError
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from laion_protocol import InvalidRequest
from laion_protocol.messages import Heartbeat, LeaseId
from tracker.auth import resources_of, worker_of

from .errors import first_problem, redis_away
from .leases import heartbeat

_PATH: Final = re.compile(r"/v1/leases/([^/]+)/heartbeat")
#: As FastAPI's routes do; the meter counts by it.
_ROUTE: Final = SimpleNamespace(path="/v1/leases/{lease_id}/heartbeat")
_LEASE_ID: Final[TypeAdapter[str]] = TypeAdapter(LeaseId)


class Beats:
    """ASGI middleware that answers heartbeats and passes on all else. `Limits` is around it, which
    answers what is refused."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] == "http" and scope["method"] == "POST":
            match = _PATH.fullmatch(scope["path"])
            if match:
                scope["route"] = _ROUTE
                try:
                    body = await _beat(Request(scope), match[1], receive)
                except RedisError as error:
                    await redis_away(error)(scope, receive, send)
                else:
                    await _answer(body, send)
                return
        await self._app(scope, receive, send)


async def _beat(request: Request, shown: str, receive: Receive) -> bytes:
    caller = await worker_of(request)  # first: a stranger hears of nothing else
    where: tuple[str, ...] = ("path", "lease_id")
    try:
        lease_id = _LEASE_ID.validate_python(shown)
        where = ("body",)
        beat = Heartbeat.model_validate_json(await _body(receive))
    except ValidationError as error:
        found = [{**one, "loc": (*where, *one["loc"])} for one in error.errors()]
        raise InvalidRequest(first_problem(found)) from error
    answer = await heartbeat(lease_id, beat, caller, resources_of(request))
    return answer.model_dump_json().encode()


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _answer(body: bytes, send: Send) -> None:
    length = b"%d" % len(body)
    headers = [(b"content-length", length), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": headers})
    await send({"type": "http.response.body", "body": body})
