"""`Once`: routes that obey `Idempotency-Key`. The same caller's same request under the same key is
done once; sent again within 24 hours, and not too many acts later, it gets the first answer
again."""

from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute

from laion_protocol import Conflict, RateLimited, Role, TrackerError, Unavailable
from tracker.auth import KEY_HEADER, identify, resources_of
from tracker.idempotency import Act, Answer

from .errors import refusal
from .limits import MAX_JSON

#: A mark for `openapi_extra`: the answer holds a token, which is kept nowhere.
SECRET: Final = {"x-answer-is-secret": True}
#: These had no effect; the same request may succeed later.
_PASSING: Final = (Unavailable, RateLimited)
#: How many acts of one account are known. Anybody may be a volunteer, and Redis refuses all writes
#: once it is full.
_KNOWN: Final = 1000
_KNOWN_OF_VOLUNTEERS: Final = 100


class Once(APIRoute):
    """`APIRouter(route_class=Once)`. Who calls is asked first; their rights, as always, within."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, done once for each key."""
        handle = super().get_route_handler()
        secret = bool(self.openapi_extra) and "x-answer-is-secret" in (self.openapi_extra or {})

        async def once(request: Request) -> Response:
            if request.method == "GET" or KEY_HEADER not in request.headers or _is_long(request):
                return await handle(request)
            if "Authorization" not in request.headers:  # nobody's key
                return await handle(request)
            caller = await identify(request)
            answers = resources_of(request).answers
            act = await answers.begin(
                caller.account,
                caller.idempotency_key,
                await _fingerprint(request, caller.scopes),
                most=_KNOWN_OF_VOLUNTEERS if caller.role is Role.VOLUNTEER else _KNOWN,
            )
            if isinstance(act, Answer):
                return _again(act)
            try:
                async with answers.under_way(act):
                    response = await handle(request)
            except _PASSING:
                await answers.forget(act)
                raise
            except TrackerError as error:
                response = refusal(error)
                await _end(request, act, response, secret=False)
                raise
            except Exception:
                await answers.forget(act)
                raise
            await _end(request, act, response, secret=secret)
            return response

        return once


def _is_long(request: Request) -> bool:
    """Crawls and files are read piece by piece, once the caller's rights are known; adding the
    same ones again is safe without a key."""
    length = request.headers.get("Content-Length", "0")
    chunked = "Transfer-Encoding" in request.headers
    return chunked or not length.isdecimal() or int(length) > MAX_JSON


async def _fingerprint(request: Request, scopes: frozenset[str]) -> bytes:
    """What makes two requests the same; and the rights, so that a token with fewer of them is not
    told what one with more was."""
    head = "\n".join(
        [request.method, request.url.path, request.url.query, " ".join(sorted(scopes))]
    )
    return head.encode() + b"\n" + await request.body()


async def _end(request: Request, act: Act, response: Response, *, secret: bool) -> None:
    body = None if secret else bytes(response.body).decode("utf-8", "replace")
    kind = response.headers.get("Content-Type", "")
    await resources_of(request).answers.end(act, Answer(response.status_code, kind, body))


def _again(answer: Answer) -> Response:
    if answer.body is None:
        raise Conflict(
            "this was done before, under the same key; its answer is shown once, so if it was "
            "lost, undo it or ask for a new token"
        )
    headers = {"Content-Type": answer.type, "Idempotent-Replay": "true"}
    if not answer.type:
        del headers["Content-Type"]
    return Response(answer.body, answer.status, headers)
