"""`Limits`: how much a caller may send, and how slowly. Also the last net for exceptions."""

import asyncio
import logging
import time
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from laion_protocol import InvalidRequest, TooLarge, TrackerError
from tracker.meter import Meter

from .errors import refusal, unexpected

log = logging.getLogger(__name__)

#: The largest JSON bodies are a manifest or 1,000 job names: well under a tenth of this.
MAX_JSON: Final = 2**20
#: These routes read their bodies piece by piece and bound them themselves.
_STREAMED: Final = (
    ("PUT", "/v1/leases/"),
    ("PUT", "/v1/admin/files/"),
    ("POST", "/v1/admin/crawls"),
)


class Limits:
    """ASGI middleware. A streamed body may not pause for longer than `seconds`, any other body
    must be there within that time and within `MAX_JSON` bytes. Every answer is metered."""

    def __init__(self, app: ASGIApp, *, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, bounded."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, began_at = False, time.perf_counter()

        async def noting_send(message: Message) -> None:
            nonlocal started
            if not started:
                started = True
                _meter(scope, message["status"], time.perf_counter() - began_at)
            await send(message)

        try:
            if _streamed(scope):
                bounded = self._patient(receive)
            else:
                bounded = _replay(await self._whole(scope, receive), receive)
            await self._app(scope, bounded, noting_send)
        except ClientDisconnect:
            log.info("a caller went away before its request was whole")
        except Exception as error:  # noqa: BLE001 (the last net: logged whole, answered in one line)
            answer = refusal(error) if isinstance(error, TrackerError) else unexpected(error)
            if not started:
                await answer(scope, receive, noting_send)

    def _patient(self, receive: Receive) -> Receive:
        finished = False

        async def bounded() -> Message:
            nonlocal finished
            if finished:  # what follows the body is only the caller's departure
                return await receive()
            try:
                async with asyncio.timeout(self._seconds):
                    message = await receive()
            except TimeoutError as error:
                raise _too_slow(self._seconds) from error
            finished = not message.get("more_body", False)
            return message

        return bounded

    async def _whole(self, scope: Scope, receive: Receive) -> bytes:
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value) > MAX_JSON:
                raise _too_long()
        body, more = bytearray(), True
        try:
            async with asyncio.timeout(self._seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > MAX_JSON:
                        raise _too_long()
        except TimeoutError as error:
            raise _too_slow(self._seconds) from error
        return bytes(body)


def _meter(scope: Scope, status: int, seconds: float) -> None:
    route = scope.get("route")  # as it was declared: ids and names would be endless labels
    meter: Meter | None = getattr(scope.get("state", {}).get("resources"), "meter", None)
    if meter is not None:
        method = scope["method"] if route else ""
        meter.answered(method, getattr(route, "path", "none"), status, seconds)


def _streamed(scope: Scope) -> bool:
    return any(scope["method"] == verb and scope["path"].startswith(p) for verb, p in _STREAMED)


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


def _too_long() -> TooLarge:
    return TooLarge(f"the body is over {MAX_JSON} bytes; no request of this kind is so long")


def _too_slow(seconds: float) -> InvalidRequest:
    return InvalidRequest(f"the body stopped coming for {seconds:g} s; send the request again")
