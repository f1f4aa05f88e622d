"""A machine logs in, and the bot says yes or no for a person (RFC 8628, in JSON)."""

from fastapi import APIRouter, Depends, Request

from laion_protocol import (
    AccessDenied,
    AuthorizationPending,
    CodeExpired,
    Conflict,
    InvalidRequest,
    NotFound,
    Role,
    SlowDown,
)
from laion_protocol.messages import (
    DeviceApproval,
    DeviceApproved,
    DeviceLogin,
    DeviceRequest,
    DeviceToken,
    DeviceTokenRequest,
)
from tracker.auth import Bot, Have, address_of, anyone
from tracker.identity.device_login import INTERVAL, LASTS
from tracker.resources import Resources

from .errors import KNOWN, refusals
from .once import Once

router = APIRouter(prefix="/v1/device", tags=["devices"], responses=refusals())


@router.post("", dependencies=[Depends(anyone)])
async def start(asked: DeviceRequest, request: Request, have: Have) -> DeviceLogin:
    """Begin a login: a code for the person, and one for the machine."""
    codes = await have.devices.start(asked.worker, asked.client, address_of(request))
    page = (have.settings.public_url or str(request.base_url)).rstrip("/") + "/device"
    return DeviceLogin(
        device_code=codes.device,
        user_code=codes.user,
        verification_uri=page,
        verification_uri_complete=f"{page}?user_code={codes.user}",
        expires_in=int(LASTS.total_seconds()),
        interval=int(INTERVAL.total_seconds()),
    )


@router.post(
    "/token",
    dependencies=[Depends(anyone)],
    responses=refusals(AuthorizationPending, SlowDown, AccessDenied, CodeExpired, Conflict),
)
async def token(asked: DeviceTokenRequest, have: Have) -> DeviceToken:
    """The token, once a person said yes; until then `authorization_pending` or `slow_down`, and
    `access_denied` or `expired_token` when none will come."""
    text, account = await have.devices.claim(asked.device_code)
    return DeviceToken(access_token=text, account=account)


async def approve(approval: DeviceApproval, bot: Bot, have: Have) -> DeviceApproved:
    """The bot lets a machine in for a person of Discord; at their first link, an account of the
    name that the bot proposes is made."""
    login = await have.devices.find(approval.user_code, f"discord:{approval.discord_id}")
    reason = f"interaction {approval.interaction_id}"
    action = "device_approve" if approval.approve else "device_deny"
    target = f"{approval.discord_id} {login.worker}"
    async with have.audit.row(bot, action, target, reason=reason) as note:
        account, added = await _account(have, approval)
        await have.devices.decide(
            login.id,
            account,
            approve=approval.approve,
            by=f"{bot.account} for {account}",
            until=(await have.accounts.token(bot.token_id)).expires,
        )
        note.after = {"account": account, "account_added": added}
    return DeviceApproved(
        account=account, worker=login.worker, approved=approval.approve, account_added=added
    )


# What a person says is done once. A login is not: its answers hold secrets, and are kept nowhere.
router.add_api_route(
    "/approve",
    approve,
    methods=["POST"],
    responses=refusals(*KNOWN, NotFound, Conflict),
    route_class_override=Once,
)


async def _account(have: Resources, approval: DeviceApproval) -> tuple[str, bool]:
    known = await have.accounts.of_discord(approval.discord_id)
    if known is not None:
        return known, False
    if not approval.approve:
        return "", False
    if approval.account is None:
        raise InvalidRequest(
            "account: this person has none yet; send the name that theirs should have"
        )
    await have.accounts.add_without_token(approval.account, Role.VOLUNTEER, approval.discord_id)
    return approval.account, True
