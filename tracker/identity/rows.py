"""Accounts and tokens as the protocol shows them."""

from datetime import UTC, datetime

from laion_protocol import Role, Scope, WorkerState
from laion_protocol.messages import AccountRow, TokenRow

from .caller import standing_of


def account_row(name: str, fields: dict[str, str]) -> AccountRow:
    """An account, of its hash."""
    standing = standing_of([fields.get(f, "") for f in ("state", "reason", "by", "since", "until")])
    over = standing.until is not None and standing.until <= datetime.now(UTC)
    return AccountRow(
        name=name,
        role=Role(fields["role"]),
        discord_id=fields.get("discord_id"),
        created=datetime.fromtimestamp(float(fields["created"]), UTC),
        revoked="revoked" in fields,
        state=WorkerState.ACTIVE if over else standing.state,
        reason="" if over else standing.reason,
        until=None if over else standing.until,
    )


def token_row(token_id: str, fields: dict[str, str]) -> TokenRow:
    """A token without its secret, of its hash."""

    def time(field: str) -> datetime | None:
        if field not in fields:
            return None
        return datetime.fromtimestamp(float(fields[field]) / 1000, UTC)

    scopes = fields.get("scopes")
    return TokenRow(
        id=token_id,
        label=fields.get("label", ""),
        scopes=None if scopes is None else tuple(Scope(word) for word in scopes.split()),
        created=time("created"),
        used=time("used"),
        expires=time("expires"),
    )
