"""An admin's calls about accounts and model files; and the log of all that admins do."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from laion_protocol import Conflict, NotFound, StorageFull, UploadMismatch
from laion_protocol.messages import (
    AccountAdded,
    Accounts,
    AuditLog,
    Name,
    NewAccount,
    NewToken,
    TokenAdded,
    TokenId,
    Tokens,
)
from tracker.auth import ForAccounts, ForAudit, ForCrawls, Have
from tracker.model_files import MAX_MODEL_BYTES

from .bodies import BYTES, announced_size, pieces
from .errors import KNOWN, refusals
from .files import Sha256
from .once import SECRET, Once
from .uploads import check_room

router = APIRouter(
    prefix="/v1/admin",
    tags=["admin"],
    route_class=Once,
    responses=refusals(*KNOWN, NotFound, Conflict),
)

AccountName = Annotated[Name, Path()]


@router.post("/accounts", openapi_extra=SECRET)
async def add_account(new: NewAccount, admin: ForAccounts, have: Have) -> AccountAdded:
    """Make an account; the answer holds its token, once."""
    reason = f"role {new.role}"
    async with have.audit.row(admin, "account_add", new.name, reason=reason) as note:
        token = await have.accounts.add(new.name, new.role, new.discord_id)
        note.after = new.model_dump(mode="json")
    return AccountAdded(name=new.name, role=new.role, token=token)


@router.get("/accounts")
async def list_accounts(_admin: ForAccounts, have: Have) -> Accounts:
    """Every account, without tokens."""
    return Accounts(rows=await have.accounts.rows())


@router.post("/accounts/{name}/revoke", status_code=204)
async def revoke_account(name: AccountName, admin: ForAccounts, have: Have) -> Response:
    """From now on none of the account's tokens is taken."""
    async with have.audit.row(admin, "account_revoke", name) as note:
        if name == admin.account:  # the only admin could never come back
            raise Conflict(f"{name!r} is the account that asks; let another admin revoke it")
        note.before = {"revoked": (await have.accounts.row(name)).revoked}
        await have.accounts.revoke(name)
        note.after = {"revoked": True}
    return Response(status_code=204)


@router.post("/accounts/{name}/token", openapi_extra=SECRET)
async def renew_token(name: AccountName, admin: ForAccounts, have: Have) -> AccountAdded:
    """A new token in place of the account's old ones, e.g. when it was lost."""
    async with have.audit.row(admin, "account_token", name) as note:
        note.before = {"tokens": [row.id for row in await have.accounts.tokens(name)]}
        role, token = await have.accounts.renew(name)
        note.after = {"tokens": [row.id for row in await have.accounts.tokens(name)]}
    return AccountAdded(name=name, role=role, token=token)


@router.get("/accounts/{name}/tokens")
async def list_tokens(name: AccountName, _admin: ForAccounts, have: Have) -> Tokens:
    """An account's tokens, without their secrets."""
    return Tokens(rows=await have.accounts.tokens(name))


@router.post("/accounts/{name}/tokens", openapi_extra=SECRET)
async def add_token(name: AccountName, new: NewToken, admin: ForAccounts, have: Have) -> TokenAdded:
    """One more token for an account; the answer holds it, once."""
    async with have.audit.row(admin, "token_add", name, reason=new.label) as note:
        made = await have.accounts.add_token(
            name,
            new.label,
            scopes=None if new.scopes is None else frozenset(new.scopes),
            lasts=None if new.expires_in is None else timedelta(seconds=new.expires_in),
        )
        note.after = {"id": made.id, **new.model_dump(mode="json")}
    return TokenAdded(id=made.id, token=made.text)


@router.delete("/accounts/{name}/tokens/{token_id}", status_code=204)
async def drop_token(
    name: AccountName, token_id: Annotated[TokenId, Path()], admin: ForAccounts, have: Have
) -> Response:
    """From now on this token is not taken."""
    async with have.audit.row(admin, "token_drop", f"{name} {token_id}") as note:
        note.before = {"label": await have.accounts.drop_token(name, token_id)}
    return Response(status_code=204)


@router.put(
    "/files/{sha256}",
    status_code=204,
    responses=refusals(UploadMismatch, StorageFull),
    openapi_extra=BYTES,
)
async def put_file(sha256: Sha256, request: Request, admin: ForCrawls, have: Have) -> Response:
    """Keep a file that recipes name by its hash; the hash is checked."""
    size = announced_size(request, MAX_MODEL_BYTES)
    async with have.audit.row(admin, "file_put", sha256):
        await check_room(have, size)
        await have.files.put(sha256, pieces(request, size), size)
    return Response(status_code=204)


Word = Annotated[str | None, Query(min_length=1, max_length=200)]


@router.get("/audit")
async def audit(
    _admin: ForAudit,
    have: Have,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    actor: Word = None,
    action: Word = None,
    target: Word = None,
    before: Annotated[str | None, Query(pattern=r"^[0-9]{1,15}-[0-9]{1,15}$")] = None,
) -> AuditLog:
    """Who changed what, and what was refused; newest first. By an account or through a bot, of an
    action, with these characters in the target, older than a row."""
    rows = await have.audit.rows(limit, actor=actor, action=action, target=target, before=before)
    return AuditLog(rows=rows)
