"""Every answer that is not a success has the same shape; no traceback leaves the tracker."""

import logging
import secrets
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException

from laion_protocol import (
    ErrorBody,
    ErrorCode,
    Forbidden,
    InvalidRequest,
    RateLimited,
    TooLarge,
    TrackerError,
    Unauthorized,
    Unavailable,
)
from laion_protocol.wording import problem

log = logging.getLogger(__name__)

#: Seconds. Redis restarts within a few; the client's back-off takes over from there.
_RETRY = 5.0
#: Any call may be answered with these.
_ALWAYS: Final[tuple[type[TrackerError], ...]] = (
    InvalidRequest,
    TooLarge,
    RateLimited,
    Unavailable,
)
#: What a call that needs a token may be answered with on its account.
KNOWN: Final = (Unauthorized, Forbidden)


def refusals(*errors: type[TrackerError]) -> dict[int | str, dict[str, Any]]:
    """For `responses=`: what a route may answer besides its success, as OpenAPI tells it."""
    told: dict[int | str, dict[str, Any]] = {
        400: {"model": ErrorBody, "description": "`invalid_request`: not HTTP, or not JSON"}
    }
    for error in (*_ALWAYS, *errors):
        meaning = f"`{error.code}`: {(error.__doc__ or '').splitlines()[0].rstrip('.')}"
        answer = told.setdefault(int(error.status), {"model": ErrorBody, "description": ""})
        answer["description"] = "; ".join(filter(None, (answer["description"], meaning)))
    return told


def install(app: FastAPI) -> None:
    """Let `app` answer with `ErrorBody` whatever goes wrong inside a route."""
    app.add_exception_handler(TrackerError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(RedisError, _redis_away)
    app.add_exception_handler(HTTPException, _no_route)


def refusal(error: TrackerError) -> JSONResponse:
    """The answer that carries a refusal."""
    return _answer(error.to_body(), error.status)


def unexpected(error: Exception) -> JSONResponse:
    """For what should not happen: the log has all of it, the caller only its number."""
    number = secrets.token_hex(4)
    log.error("error %s", number, exc_info=error)
    return refusal(
        Unavailable(f"the tracker failed at this (error {number} in its log)", retry_after=_RETRY)
    )


def _answer(body: ErrorBody, status: int) -> JSONResponse:
    headers = {}
    if body.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(body.retry_after)))
    return JSONResponse(body.model_dump(mode="json", exclude_none=True), status, headers)


async def _refused(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, TrackerError)
    return refusal(error)


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return refusal(InvalidRequest(first_problem(error.errors())))


def first_problem(errors: object) -> str:
    """One sentence on the first of pydantic's errors: the field, and what is wrong with it. The
    value is left out, it may be a secret or a megabyte."""
    assert isinstance(errors, list | tuple)
    return problem(errors)


async def _redis_away(_request: Request, error: Exception) -> JSONResponse:
    return redis_away(error)


def redis_away(error: Exception) -> JSONResponse:
    """For as long as Redis does not answer."""
    log.error("Redis: %s", error)
    return refusal(
        Unavailable("the tracker cannot reach its database at the moment", retry_after=_RETRY)
    )


async def _no_route(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = (
        ErrorCode.INVALID_REQUEST
        if error.status_code == HTTPStatus.BAD_REQUEST
        else ErrorCode.NOT_FOUND
    )
    text = f"{request.method} {request.url.path[:200]}: {error.detail}"
    return _answer(ErrorBody(error=code, message=text), error.status_code)
