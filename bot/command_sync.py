"""Registers the slash commands with Discord, only when they changed.

Discord allows 200 new commands a day and guild, so a bot that registers at each start can lock
itself out.
"""

import hashlib
import json
import logging
from typing import Any

import discord
from discord import app_commands
from pydantic import Field

from laion_protocol.message import Message

from .state_file import StateFile

log = logging.getLogger(__name__)


class SyncedCommands(Message):
    """SHA-256 of what is registered, by guild id; `global` for everywhere."""

    scopes: dict[str, str] = Field(default_factory=dict)


async def sync_changed(
    tree: app_commands.CommandTree[Any],
    home: discord.abc.Snowflake,
    file: StateFile[SyncedCommands],
) -> None:
    """Make Discord's commands, everywhere and in the home guild, those of the tree.

    Raises:
        discord.HTTPException: Discord refused them.
    """
    known = (file.load() or SyncedCommands()).scopes
    scopes: dict[str, discord.abc.Snowflake | None] = {"global": None, str(home.id): home}
    # a guild that was home before must not keep the admins' commands
    scopes |= {scope: discord.Object(int(scope)) for scope in known if scope not in scopes}
    done = dict(known)
    for scope, guild in scopes.items():
        digest = _digest(tree, guild)
        if known.get(scope) == digest:
            continue
        try:
            commands = await tree.sync(guild=guild)
        except discord.Forbidden:
            if guild is None or guild.id == home.id:
                raise
            log.info("no access to the former home guild %s any more", scope)
            done.pop(scope, None)
            continue
        log.info("registered %d commands (%s)", len(commands), scope)
        if commands or guild is None or guild.id == home.id:
            done[scope] = digest
        else:
            done.pop(scope, None)
    if done != known:
        file.save(SyncedCommands(scopes=done))


def _digest(tree: app_commands.CommandTree[Any], guild: discord.abc.Snowflake | None) -> str:
    commands = [command.to_dict(tree) for command in tree.get_commands(guild=guild)]
    payload = {"application": tree.client.application_id, "commands": commands}
    return hashlib.sha256(json.dumps(payload, sort_keys=True, default=str).encode()).hexdigest()
