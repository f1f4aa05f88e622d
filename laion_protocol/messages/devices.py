"""Logging a machine in without typing a token: RFC 8628, in JSON."""

from pydantic import Field

from laion_protocol.message import Message

from .names import Name


class DeviceRequest(Message):
    """`POST /v1/device`: a machine wants a token of its own."""

    worker: Name = Field(description="the machine's name; it becomes the token's label")
    client: str = Field(
        default="", max_length=64, description="program and version, shown to who approves"
    )


class DeviceLogin(Message):
    """What the machine shows its user, and what it keeps to itself."""

    device_code: str = Field(description="keep it; it is what fetches the token")
    user_code: str = Field(description="show it: ABCD-EFGH")
    verification_uri: str
    verification_uri_complete: str
    expires_in: int = Field(description="seconds")
    interval: int = Field(description="seconds between two questions, at least")


class DeviceTokenRequest(Message):
    """`POST /v1/device/token`."""

    device_code: str = Field(pattern=r"^[0-9a-f]{64}$")


class DeviceToken(Message):
    """The token, which is shown this once."""

    access_token: str
    token_type: str = "Bearer"
    account: str


class DeviceApproval(Message):
    """`POST /v1/device/approve`: the bot says yes or no for a Discord person."""

    user_code: str = Field(max_length=32, description="as typed; case and dashes do not matter")
    discord_id: str = Field(pattern=r"^[0-9]{1,20}$")
    account: Name | None = Field(
        default=None, description="the name to give the person's account if there is none yet"
    )
    approve: bool = True
    interaction_id: str = Field(pattern=r"^[0-9]{1,20}$", description="for the audit log")


class DeviceApproved(Message):
    """What was approved or refused, for whom."""

    account: str
    worker: str
    approved: bool
    account_added: bool = Field(description="this was the person's first link")
