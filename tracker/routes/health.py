"""For whoever runs the tracker: is it up, and can it work?"""

import asyncio

from fastapi import APIRouter, Response
from redis.exceptions import RedisError

from laion_protocol import ErrorBody, StorageFull, Unavailable
from laion_protocol.messages import Problem
from tracker.auth import Have
from tracker.redis_check import weaknesses
from tracker.resources import Resources

from .errors import refusals

router = APIRouter(tags=["health"], responses=refusals())

_OK = "ok"
_SECONDS = 3.0


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process is up."""
    return {"status": _OK}


@router.get("/readyz", responses={503: {"model": Problem | ErrorBody}})
async def readyz(response: Response, have: Have) -> Problem:
    """503 with what is missing, unless Redis answers and the store can be written."""
    redis, warnings = await _redis(have)
    checks = {"redis": redis, "store": await _store(have)}
    ready = all(result == _OK for result in checks.values())
    response.status_code = 200 if ready else 503
    return Problem(ready=ready, checks=checks, warnings=warnings)


async def _redis(have: Resources) -> tuple[str, tuple[str, ...]]:
    try:
        async with asyncio.timeout(_SECONDS):
            return _OK, (*await weaknesses(have.redis), *await have.dedupe.weaknesses())
    except (RedisError, OSError, TimeoutError) as error:
        return f"no answer ({type(error).__name__})", ()  # the message may hold its address


async def _store(have: Resources) -> str:
    try:
        async with asyncio.timeout(_SECONDS):
            await have.store.check()
    except (OSError, StorageFull, Unavailable) as error:
        return f"cannot be written ({type(error).__name__})"
    return _OK
