"""`Settings`: what the operator tells the bot, from the environment."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

ENV_PREFIX = "LAION_BOT_"


def _not_blank(secret: SecretStr) -> SecretStr:
    if not secret.get_secret_value().strip():
        raise ValueError("is empty")
    return secret


Secret = Annotated[SecretStr, AfterValidator(_not_blank)]
Snowflake = Annotated[int, Field(gt=0, lt=2**64)]


class Settings(BaseSettings):
    """Each field is the environment variable `LAION_BOT_<FIELD>`; five have no default."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="ignore")

    discord_token: Secret = Field(description="the bot's token from Discord's developer portal")
    tracker_url: str = Field(pattern=r"^https?://", description="e.g. https://tracker.example.org")
    tracker_token: Secret = Field(description="of a tracker account with the role `bot`")
    home_guild: Snowflake = Field(description="id of the guild whose admins may run jobs commands")
    status_channel: Snowflake = Field(description="id of the channel with the status message")
    data_dir: Path = Field(
        default=Path("data/bot"), description="where the feed's cursor and message ids are kept"
    )
    status_seconds: float = Field(
        default=15.0, gt=0, le=3600, description="the status message is edited at most this often"
    )
    discord_api: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="base URL of another REST API, such as a proxy or a fake; with /api/v10",
    )
    discord_gateway: str | None = Field(
        default=None, pattern=r"^wss?://", description="URL of the gateway that belongs to it"
    )

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.discord_api is None) != (self.discord_gateway is None):
            raise ValueError(
                "LAION_BOT_DISCORD_API and LAION_BOT_DISCORD_GATEWAY belong together; "
                "set both or neither"
            )
        return self
