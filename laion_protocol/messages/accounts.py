"""What an account's owner may see and do: tokens and machines of their own."""

from typing import Annotated

from pydantic import AwareDatetime, Field

from laion_protocol.message import Message
from laion_protocol.states import Role, Scope, WorkerState

from .workers import WorkerRow

#: What a person calls a token, to know it again in a list.
Label = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")]
TokenId = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]


class TokenRow(Message):
    """One token, without its secret."""

    id: str = Field(description="the middle part of `lw_<id>_<secret>`")
    label: str
    scopes: tuple[Scope, ...] | None = Field(
        default=None, description="None: all that its account may do"
    )
    created: AwareDatetime | None = None
    used: AwareDatetime | None = Field(default=None, description="to about a minute")
    expires: AwareDatetime | None = None


class Tokens(Message):
    """`GET /v1/me/tokens`, oldest first."""

    rows: tuple[TokenRow, ...]


class NewToken(Message):
    """`POST /v1/me/tokens`, `POST /v1/admin/accounts/{name}/tokens`: one more token."""

    label: Label
    scopes: tuple[Scope, ...] | None = Field(
        default=None, min_length=1, max_length=len(Scope), description="None: all"
    )
    expires_in: int | None = Field(
        default=None, ge=60, le=10 * 366 * 86_400, description="seconds; None: never"
    )


class TokenAdded(Message):
    """A new token, which is shown this once."""

    id: str
    token: str


class Me(Message):
    """`GET /v1/me`: the caller's own account."""

    account: str
    role: Role
    scopes: tuple[Scope, ...] = Field(description="what the token that asks may do")
    via: str = Field(default="", description="the bot that acts for the account")
    discord_id: str | None = None
    created: AwareDatetime
    state: WorkerState = WorkerState.ACTIVE
    reason: str = ""
    until: AwareDatetime | None = None
    workers: tuple[WorkerRow, ...] = ()
