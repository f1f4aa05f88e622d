"""`/status`: how the crawl is doing, for everybody, everywhere."""

from typing import TYPE_CHECKING

import discord
from discord import app_commands
from discord.ext import commands

from ..cards import status_card
from ..layout import layout

if TYPE_CHECKING:
    from ..bot import LaionBot


class Status(commands.Cog):
    """What anyone may ask."""

    def __init__(self, bot: "LaionBot") -> None:
        self._bot = bot

    @app_commands.command(description="How the crawl is doing, and how fresh that is")
    async def status(self, interaction: discord.Interaction["LaionBot"]) -> None:
        """Deferred at once: the tracker may take longer than Discord's three seconds."""
        await interaction.response.defer(thinking=True)
        snapshot = await self._bot.project.refresh()
        card = status_card(snapshot, self._bot.feed.recent)
        await interaction.edit_original_response(view=layout(card))
