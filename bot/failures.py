"""What a person is told when something fails: one friendly sentence that only they see."""

import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import discord
from discord import app_commands

from laion_protocol.client import NotATracker
from laion_protocol.errors import Forbidden, TrackerError, Unauthorized, Unavailable

from .layout import plain
from .stale import Unusable

log = logging.getLogger(__name__)

Interaction = discord.Interaction[Any]


@asynccontextmanager
async def told(interaction: Interaction) -> AsyncIterator[None]:
    """Whatever breaks inside is explained to the person, and logged once if it is unexpected."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 (the last handler of this interaction)
        await explain(interaction, error)


async def explain(interaction: Interaction, error: BaseException) -> None:
    """Answer an interaction that failed."""
    while isinstance(error, app_commands.CommandInvokeError):
        error = error.original
    text = sentence(error, interaction.user.id)
    if text is None:
        error_id = secrets.token_hex(4)
        log.error("error %s in %s", error_id, _what(interaction), exc_info=error)
        text = (
            f"Something went wrong here, and it was written down as `{error_id}`. "
            "Try again; if it stays, tell an operator that number."
        )
    try:
        if interaction.type is discord.InteractionType.autocomplete:
            await interaction.response.autocomplete([])
        elif interaction.response.is_done():
            await interaction.followup.send(text, ephemeral=True)
        else:
            await interaction.response.send_message(text, ephemeral=True)
    except discord.HTTPException as failed:
        log.warning("could not tell a person in %s: %s", _what(interaction), failed)


def sentence(error: BaseException, discord_id: int) -> str | None:
    """What to say about an expected failure; None for one that nobody thought of."""
    match error:
        case Unusable():
            return str(error)
        case Forbidden():
            return (
                f"The tracker says: {plain(str(error))}. "
                f"To be linked, ask an operator to make you an admin account "
                f"with your Discord id, which is `{discord_id}`."
            )
        case Unauthorized() | NotATracker():
            log.error("the bot cannot work with its tracker: %s", error)
            return "The tracker does not take this bot's own token or version; tell an operator."
        case Unavailable() | TimeoutError():
            return (
                "The tracker does not answer at the moment. If you changed something, it may or "
                "may not have been done; looking again, or repeating it in a minute, is safe."
            )
        case TrackerError():
            return f"The tracker says: {plain(str(error))}"
        case app_commands.CommandNotFound() | app_commands.CommandSignatureMismatch():
            return "This command has changed; reload Discord and try again."
        case app_commands.CheckFailure():
            return "You may not use this command here."
    return None


def _what(interaction: Interaction) -> str:
    command = interaction.command
    return f"/{command.qualified_name}" if command else f"a {interaction.type.name}"
