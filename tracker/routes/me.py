"""What people may see and do about their own account: its tokens and its machines."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Response

from laion_protocol import Conflict, Forbidden, NotFound
from laion_protocol.messages import Me, Name, NewToken, TokenAdded, TokenId, Tokens
from tracker.auth import Anyone, Have
from tracker.identity import Caller
from tracker.identity.caller import SCOPES

from .errors import KNOWN, refusals
from .once import SECRET, Once

router = APIRouter(
    prefix="/v1/me", tags=["me"], route_class=Once, responses=refusals(*KNOWN, NotFound, Conflict)
)


@router.get("")
async def me(caller: Anyone, have: Have) -> Me:
    """The account behind this token, and its machines."""
    row = await have.accounts.row(caller.account)
    return Me(
        account=row.name,
        role=row.role,
        scopes=tuple(sorted(caller.scopes)),
        via=caller.act or "",
        discord_id=row.discord_id,
        created=row.created,
        state=row.state,
        reason=row.reason,
        until=row.until,
        workers=await have.workers.rows(account=caller.account),
    )


@router.get("/tokens")
async def tokens(caller: Anyone, have: Have) -> Tokens:
    """The account's tokens, without their secrets."""
    return Tokens(rows=await have.accounts.tokens(caller.account))


@router.post("/tokens", openapi_extra=SECRET)
async def add_token(new: NewToken, caller: Anyone, have: Have) -> TokenAdded:
    """One more token, e.g. for another machine, that ends no later than the one that asks. That one
    may do all that its account may."""
    _own(caller)
    mine = await have.accounts.parent(caller.token_id)
    scopes = None if new.scopes is None else frozenset(new.scopes)
    if scopes is not None and not scopes <= caller.scopes:
        more = ", ".join(sorted(scopes - caller.scopes))
        raise Forbidden(f"a token can make none that may do more than itself: {more}")
    lasts = None if new.expires_in is None else timedelta(seconds=new.expires_in)
    if mine.expires is not None:
        left = max(mine.expires - datetime.now(UTC), timedelta(seconds=1))
        lasts = left if lasts is None else min(left, lasts)
    async with have.audit.row(caller, "token_add", caller.account, reason=new.label) as note:
        made = await have.accounts.add_token(caller.account, new.label, scopes=scopes, lasts=lasts)
        note.after = {"id": made.id, **new.model_dump(mode="json")}
    return TokenAdded(id=made.id, token=made.text)


@router.delete("/tokens/{token_id}", status_code=204)
async def drop_token(token_id: Annotated[TokenId, Path()], caller: Anyone, have: Have) -> Response:
    """From now on this token is not taken. It may be the one that asks, and none that may do more:
    a stolen worker's token must not lock its owner out."""
    _own(caller)
    rows = {row.id: row for row in await have.accounts.tokens(caller.account)}
    mine, other = await have.accounts.token(caller.token_id), rows.get(token_id)
    if other is not None and mine.scopes is not None:
        theirs = None if other.scopes is None else frozenset(other.scopes) & SCOPES[caller.role]
        if theirs is None or not theirs <= caller.scopes:
            raise Forbidden("that token may do more than yours; revoke it with one that may, too")
    async with have.audit.row(caller, "token_drop", f"{caller.account} {token_id}") as note:
        note.before = {"label": await have.accounts.drop_token(caller.account, token_id)}
    return Response(status_code=204)


@router.delete("/workers/{worker}", status_code=204)
async def forget_worker(worker: Annotated[Name, Path()], caller: Anyone, have: Have) -> Response:
    """Take a machine off the list; it comes back when it asks for work again."""
    _own(caller)
    async with have.audit.row(caller, "worker_forget", f"{caller.account}/{worker}"):
        await have.workers.forget(caller.account, worker)
    return Response(status_code=204)


def _own(caller: Caller) -> None:
    if caller.act is not None:
        raise Forbidden(f"the bot {caller.act!r} may not do this for anybody; use your own token")
