"""The page on which people let machines in: look, then decide.

It holds no session. The first form carries a token of the account, the second a ticket that only
the answer to the first one had: no other page can send either in somebody's name.
"""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import TypeAdapter, ValidationError

from laion_protocol import Forbidden, InvalidRequest, Role, Scope, TrackerError, WorkerState
from laion_protocol.messages import Name
from tracker.auth import Have, address_of, anyone
from tracker.identity import Caller, Knock
from tracker.identity.device_login import Ticket
from tracker.resources import Resources
from tracker.web import HEADERS, page

router = APIRouter(prefix="/device", include_in_schema=False)

_TITLE: Final = "Let a machine in"
_NAME: Final[TypeAdapter[str]] = TypeAdapter(Name)
_MOST: Final = 4096


@router.get("", dependencies=[Depends(anyone)])
async def ask(user_code: str = Query(default="", max_length=32)) -> HTMLResponse:
    """The first form."""
    return _ask(user_code=user_code)


@router.post("")
async def answer(request: Request, have: Have) -> HTMLResponse:
    """Show the machine, or carry a decision out."""
    fields: dict[str, str] = {}
    try:
        fields = await _fields(request)
        if fields.get("step") == "decide":
            return await _decide(request, have, fields)
        return await _look(request, have, fields)
    except TrackerError as error:
        return _ask(
            user_code=fields.get("user_code", ""),
            account=fields.get("account", ""),
            problem=error,
        )


async def _look(request: Request, have: Resources, fields: dict[str, str]) -> HTMLResponse:
    token = fields.get("token", "").strip()
    caller = await have.gate.admit(Knock(token, address_of(request)))
    account, new = await _account(have, caller, fields.get("account", "").strip())
    login = await have.devices.find(fields.get("user_code", ""), caller.account)
    role = Role.VOLUNTEER if new else None
    ticket = await have.devices.make_ticket(
        Ticket(login.id, login.worker, account, role, caller.account, caller.token_id)
    )
    minutes = int((datetime.now(UTC) - login.created).total_seconds() // 60)
    return _answer(
        page(
            "Is this your machine?",
            "device_confirm",
            worker=login.worker,
            client=login.client or "not told",
            asked=f"{minutes} min ago" if minutes else "just now",
            account=f"{account} (new)" if new else account,
            ticket=ticket,
        )
    )


async def _account(have: Resources, caller: Caller, wanted: str) -> tuple[str, bool]:
    """The account to let the machine into, and whether it is to be made."""
    if caller.act is not None or caller.role is Role.BOT:
        raise Forbidden("a bot uses its own call for this; use your own token")
    if caller.banned is not None:
        raise Forbidden(f"an admin banned you: {caller.banned}")
    if not wanted:
        await have.accounts.parent(caller.token_id)
        return caller.account, False
    if Scope.ACCOUNTS not in caller.scopes:
        raise Forbidden("only admins may make accounts; leave that field empty")
    try:
        return _NAME.validate_python(wanted), True
    except ValidationError as error:
        raise InvalidRequest(
            "the name of an account has letters, digits, dots, dashes and underscores"
        ) from error


async def _decide(request: Request, have: Resources, fields: dict[str, str]) -> HTMLResponse:
    await have.gate.admit_anyone(address_of(request))
    approve = fields.get("decision") == "approve"
    ticket = await have.devices.take_ticket(fields.get("ticket", ""))
    decider = await have.accounts.row(ticket.by)
    if decider.revoked:
        raise Forbidden(f"the account {ticket.by!r} was revoked")
    if decider.state is WorkerState.BANNED:
        raise Forbidden(f"an admin banned you: {decider.reason}")
    until = (await have.accounts.token(ticket.token_id)).expires
    caller = Caller(account=decider.name, role=decider.role)
    action = "device_approve" if approve else "device_deny"
    target = f"{ticket.account} {ticket.worker}"
    async with have.audit.row(caller, action, target, reason="web page") as note:
        if approve and ticket.new_role is not None:
            await have.accounts.add_without_token(ticket.account, ticket.new_role)
            note.after = {"account": ticket.account, "account_added": True}
        await have.devices.decide(
            ticket.login_id, ticket.account, approve=approve, by=ticket.by, until=until
        )
    outcome = (
        f"The machine is let in, for the account {ticket.account}. It goes on by itself in a few "
        "seconds; you may close this page."
        if approve
        else "The machine is refused. You may close this page."
    )
    return _answer(page(_TITLE, "device_done", outcome=outcome))


async def _fields(request: Request) -> dict[str, str]:
    # Browsers say where a form came from; what says nothing is no browser.
    if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
        raise Forbidden("this form was sent from another page; open this one and begin again")
    body = await request.body()
    if len(body) > _MOST:
        raise InvalidRequest("this form is too long")
    try:
        pairs = parse_qsl(body.decode("ascii"), max_num_fields=8, errors="strict")
    except ValueError as error:
        raise InvalidRequest("this is not a form") from error
    return dict(pairs)


def _ask(
    *, user_code: str = "", account: str = "", problem: TrackerError | None = None
) -> HTMLResponse:
    text = page(
        _TITLE,
        "device_ask",
        problem=str(problem or ""),
        user_code=user_code,
        account=account,
    )
    response = _answer(text, problem.status if problem else HTTPStatus.OK)
    if problem is not None and problem.retry_after is not None:
        response.headers["Retry-After"] = str(max(1, round(problem.retry_after)))
    return response


def _answer(text: str, status: HTTPStatus = HTTPStatus.OK) -> HTMLResponse:
    return HTMLResponse(text, status, HEADERS)
