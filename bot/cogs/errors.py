"""What happens when a command fails: the person is told, the operator's log has it once."""

from typing import TYPE_CHECKING

import discord
from discord import app_commands
from discord.ext import commands

from ..failures import explain

if TYPE_CHECKING:
    from ..bot import LaionBot


class Errors(commands.Cog):
    """Owns the command tree's error handler while it is loaded."""

    def __init__(self, bot: "LaionBot") -> None:
        self._bot = bot

    async def cog_load(self) -> None:
        """Take the handler."""
        self._bot.tree.error(self.on_tree_error)

    async def on_tree_error(
        self, interaction: discord.Interaction["LaionBot"], error: app_commands.AppCommandError
    ) -> None:
        """Explain it, unless a check has told the person already."""
        if isinstance(error, app_commands.CheckFailure) and interaction.response.is_done():
            return
        await explain(interaction, error)
