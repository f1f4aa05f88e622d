"""The bot acts for a person."""

from fastapi import APIRouter

from laion_protocol.messages import Delegation, DelegationRequest
from tracker.auth import Bot, Have
from tracker.identity import DELEGATION

from .errors import KNOWN, refusals

router = APIRouter(prefix="/v1/delegations", tags=["delegations"], responses=refusals(*KNOWN))


@router.post("")
async def delegate(request: DelegationRequest, bot: Bot, have: Have) -> Delegation:
    """A token with that person's own rights that can be lent, for one minute."""
    async with have.audit.row(
        bot, "delegate", request.discord_id, reason=f"interaction {request.interaction_id}"
    ):
        scopes = None if request.scopes is None else frozenset(request.scopes)
        token, account = await have.accounts.delegate(bot.account, request.discord_id, scopes)
    return Delegation(token=token, account=account, expires_in=int(DELEGATION.total_seconds()))
