"""Who calls: `Worker`, `Admin`, `OwnAdmin`, `Bot` are what a route takes that only they may call.

`Admin` may be a bot that acts for an admin, `OwnAdmin` may not.
"""

from typing import Annotated

from fastapi import Depends, Request

from laion_protocol import Forbidden, Role, Unauthorized

from .accounts import Caller
from .resources import Resources

#: A token is 80 characters long; nothing longer is looked at.
_MAX_HEADER = 200


def _resources(request: Request) -> Resources:
    resources: Resources = request.state.resources
    return resources


Have = Annotated[Resources, Depends(_resources)]


async def _caller(request: Request, have: Have) -> Caller:
    header = request.headers.get("Authorization", "")
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token or len(header) > _MAX_HEADER:
        raise Unauthorized("this call needs a token: send `Authorization: Bearer lw_…`")
    return await have.accounts.find(token.strip())


Anyone = Annotated[Caller, Depends(_caller)]


async def _worker(caller: Anyone) -> Caller:
    if caller.role is Role.BOT or caller.act is not None:
        raise Forbidden("a bot runs no workers; use a volunteer's token")
    return caller


async def _admin(request: Request, caller: Anyone, have: Have) -> Caller:
    if caller.role is not Role.ADMIN:
        await _note_refusal(request, caller, have)
        raise Forbidden(
            f"the account {caller.account!r} is not an admin's; only admins may do this"
        )
    return caller


async def _own_admin(
    request: Request, caller: Annotated[Caller, Depends(_admin)], have: Have
) -> Caller:
    # Whoever takes over the bot has a minute of an admin's rights at every click: enough to
    # requeue jobs, but not to make an account that lasts or to choose what all workers run.
    if caller.act is not None:
        await _note_refusal(request, caller, have)
        raise Forbidden(
            f"the bot {caller.act!r} may not do this for anybody; use your own token "
            "(`python -m tracker`)"
        )
    return caller


async def _note_refusal(request: Request, caller: Caller, have: Have) -> None:
    action = f"{request.method} {request.url.path}"
    await have.audit.write(caller, action, "", result=Forbidden.code.value)


async def _bot(caller: Anyone) -> Caller:
    if caller.role is not Role.BOT:
        raise Forbidden("only a bot's token may act for other people")
    return caller


Worker = Annotated[Caller, Depends(_worker)]
Admin = Annotated[Caller, Depends(_admin)]
OwnAdmin = Annotated[Caller, Depends(_own_admin)]
Bot = Annotated[Caller, Depends(_bot)]
