"""Who calls: what a route takes that only some may call.

`needs(Scope.X)` is the rule; the names below are that rule for the scopes. A bot that acts for a
person has at most the scopes that can be lent.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated, Final

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from laion_protocol import Forbidden, InvalidRequest, Role, Scope, Unauthorized

from .identity import Caller, Knock
from .identity.caller import DELEGABLE
from .identity.gate import Kind
from .resources import Resources

#: A token is 80 characters long; nothing longer is looked at.
_MAX_HEADER = 200
#: Which of the account's workers calls: the tracker notes it as seen, at no further cost.
WORKER_HEADER: Final = "Laion-Worker"
#: The same key sent again is the same act, done once.
KEY_HEADER: Final = "Idempotency-Key"
_NAME: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")


#: Tells OpenAPI which calls need a token; who calls is found out by `identify`.
_Told = Annotated[
    object, Security(HTTPBearer(scheme_name="token", description="`lw_…`", auto_error=False))
]


def resources_of(request: Request) -> Resources:
    """What `create_app` built."""
    # As `request.state.resources`, whose wrapper costs every heartbeat more than it gives.
    resources: Resources = request.scope["state"]["resources"]
    return resources


async def _have(request: Request) -> Resources:
    return resources_of(request)  # a plain function would cost a thread at each request


Have = Annotated[Resources, Depends(_have)]


def address_of(request: Request) -> str:
    """The caller's address as the gate takes it: a keyed hash."""
    peer = request.client.host if request.client else ""
    return resources_of(request).addresses.hashed(peer, request.headers.get("X-Forwarded-For", ""))


async def anyone(request: Request) -> None:
    """For routes without a token: not too often from one address."""
    await resources_of(request).gate.admit_anyone(address_of(request))


async def maybe_known(request: Request) -> Caller | None:
    """For routes that need no token and treat who shows one better; None for a stranger."""
    if "Authorization" in request.headers:
        return await identify(request)
    await anyone(request)
    return None


async def identify(request: Request, kind: Kind = "call") -> Caller:
    """Who calls; at most one question to Redis for each request."""
    state = request.scope["state"]
    known: Caller | None = state.get("caller")
    if known is None:
        worker = request.headers.get(WORKER_HEADER, "")
        known = await resources_of(request).gate.admit(
            Knock(_bearer(request), address_of(request), kind, worker if _is_name(worker) else "")
        )
        if KEY_HEADER in request.headers:
            known = replace(known, idempotency_key=_key(request))
        state["caller"] = known
    return known


def _bearer(request: Request) -> str:
    header = request.headers.get("Authorization", "")
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token or len(header) > _MAX_HEADER:
        raise Unauthorized("this call needs a token: send `Authorization: Bearer lw_…`")
    return token.strip()


def _is_name(text: str) -> bool:
    return 0 < len(text) <= 64 and text[0] not in "._-" and _NAME.issuperset(text)


def _key(request: Request) -> str:
    key = request.headers.get(KEY_HEADER, "")
    if len(key) > 128 or not key.isascii() or not (key.isprintable() or not key):
        raise InvalidRequest(f"{KEY_HEADER}: up to 128 printable ASCII characters")
    return key


async def _anyone_known(request: Request, _token: _Told) -> Caller:
    return await identify(request)


async def _worker(request: Request, _token: _Told) -> Caller:
    return await worker_of(request)


async def worker_of(request: Request) -> Caller:
    """The volunteer who calls about a lease.

    Raises:
        Forbidden: a bot, a token without the scope, or a banned account.
    """
    caller = _own_worker(await identify(request, "beat"))
    _not_banned(caller)
    return caller


async def _leaser(request: Request, _token: _Told) -> Caller:
    return _own_worker(await identify(request, "lease"))


def _own_worker(caller: Caller) -> Caller:
    if caller.role is Role.BOT or caller.act is not None:
        raise Forbidden("a bot runs no workers; use a volunteer's token")
    if Scope.WORK not in caller.scopes:
        raise Forbidden("this token may not do a worker's calls; use one with the scope 'work'")
    return caller


def _not_banned(caller: Caller) -> None:
    if caller.banned is not None:
        raise Forbidden(f"an admin banned you: {caller.banned}")


def needs(scope: Scope) -> Callable[[Request, object], Awaitable[Caller]]:
    """A dependency: the caller, who has this scope. Refusals are written down.

    Raises:
        Forbidden: the account, or the bot that acts for it, has not, or is banned.
    """

    async def having(request: Request, _token: _Told) -> Caller:
        caller = await identify(request)
        refusal = _why_not(caller, scope)
        if refusal is not None:
            await _note_refusal(request, caller)
            raise Forbidden(refusal)
        return caller

    return having


def _why_not(caller: Caller, scope: Scope) -> str | None:
    if caller.act is not None and scope not in DELEGABLE:
        return (
            f"the bot {caller.act!r} may not do this for anybody; use your own token "
            "(`python -m tracker`)"
        )
    if scope not in caller.scopes:
        return (
            f"the account {caller.account!r} is not an admin's, or this token not one for this; "
            f"it needs the scope {scope.value!r}"
        )
    if caller.banned is not None:
        return f"an admin banned you: {caller.banned}"
    return None


async def _note_refusal(request: Request, caller: Caller) -> None:
    action = f"{request.method} {request.url.path}"
    await resources_of(request).audit.write(caller, action, "", result=Forbidden.code.value)


Anyone = Annotated[Caller, Depends(_anyone_known)]
#: A volunteer, about a lease that is held; banned ones are refused.
Worker = Annotated[Caller, Depends(_worker)]
#: A volunteer who asks for work; a banned one is told so in the answer (`Caller.banned`).
Leaser = Annotated[Caller, Depends(_leaser)]
ForJobs = Annotated[Caller, Depends(needs(Scope.JOBS))]
ForWorkers = Annotated[Caller, Depends(needs(Scope.WORKERS))]
ForProject = Annotated[Caller, Depends(needs(Scope.PROJECT))]
ForCrawls = Annotated[Caller, Depends(needs(Scope.CRAWLS))]
ForAccounts = Annotated[Caller, Depends(needs(Scope.ACCOUNTS))]
ForAudit = Annotated[Caller, Depends(needs(Scope.AUDIT))]
Bot = Annotated[Caller, Depends(needs(Scope.DELEGATE))]
