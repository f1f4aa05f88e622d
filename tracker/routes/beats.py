"""Heartbeats past FastAPI's machinery, which costs more than all the rest of a heartbeat.

Most requests of a fleet are heartbeats. `leases.heartbeat` is the same call as FastAPI knows it:
it stands in the OpenAPI document, and a test holds the two to the same answers.
"""

from typing import Final

from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from laion_protocol.messages import Heartbeat, LeaseId
from tracker.auth import resources_of, worker_of

from .leases import heartbeat

_LEASE_ID: Final[TypeAdapter[str]] = TypeAdapter(LeaseId)


async def _beat(request: Request) -> Response:
    request.scope["route"] = ROUTE  # as FastAPI's routes do; the meter counts by it
    caller = await worker_of(request)  # first: a stranger hears of nothing else
    try:
        where: tuple[str, ...] = ("path", "lease_id")
        lease_id = _LEASE_ID.validate_python(request.path_params["lease_id"])
        where = ("body",)
        beat = Heartbeat.model_validate_json(await request.body())
    except ValidationError as error:
        raise RequestValidationError(
            [{**found, "loc": (*where, *found["loc"])} for found in error.errors()]
        ) from error
    answer = await heartbeat(lease_id, beat, caller, resources_of(request))
    return Response(answer.model_dump_json(), media_type="application/json")


#: To be put before all other routes.
ROUTE: Final = Route("/v1/leases/{lease_id}/heartbeat", _beat, methods=["POST"])
