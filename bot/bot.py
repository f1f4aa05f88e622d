"""`LaionBot`: the connection to Discord, and all that lives as long as it does."""

import asyncio
import logging

import aiohttp
import discord
from discord.ext import commands

from laion_protocol.client import TrackerClient
from laion_protocol.messages import Stats

from .cards import status_card
from .cogs.errors import Errors
from .cogs.jobs import Jobs
from .cogs.status import Status
from .command_sync import SyncedCommands, sync_changed
from .feed import Feed, FeedState
from .project import Project
from .settings import Settings
from .stale import StaleDesk
from .state_file import StateFile
from .status_message import StatusMessage, StatusMessageId
from .supervise import keep_running

log = logging.getLogger(__name__)

#: seconds; discord.py waits out shorter rate limits and raises `RateLimited` for longer ones
LONGEST_RATE_LIMIT = 60.0


class DiscordUnreachable(Exception):
    """Discord's gateway could not be reached at all; wait, then start afresh."""


class LaionBot(commands.Bot):
    """Slash commands and one status message; use it in `async with`."""

    def __init__(self, settings: Settings, tracker: TrackerClient) -> None:
        super().__init__(
            command_prefix=commands.when_mentioned,  # there are no commands but slash commands
            help_command=None,
            intents=discord.Intents(guilds=True),
            allowed_mentions=discord.AllowedMentions.none(),
            member_cache_flags=discord.MemberCacheFlags.none(),
            chunk_guilds_at_startup=False,
            max_messages=None,
            max_ratelimit_timeout=LONGEST_RATE_LIMIT,
        )
        self.settings = settings
        data = settings.data_dir
        self.project = Project(tracker, StateFile(data / "stats.json", Stats))
        self.feed = Feed(tracker, StateFile(data / "feed.json", FeedState))
        self.desk = StaleDesk(tracker)
        self._synced = StateFile(data / "commands.json", SyncedCommands)
        self._status_message = StatusMessage(
            self,
            settings.status_channel,
            StateFile(data / "status_message.json", StatusMessageId),
        )
        self._loops: list[asyncio.Task[None]] = []
        self._discord_away = False

    async def setup_hook(self) -> None:
        """Once, after login and before the gateway: commands, then the loops."""
        home = discord.Object(self.settings.home_guild)
        await self.add_cog(Errors(self))
        await self.add_cog(Status(self))
        await self.add_cog(Jobs(self), guild=home)
        await sync_changed(self.tree, home, self._synced)
        for name, loop in (("feed", self.feed.follow), ("status message", self._show_status)):
            self._loops.append(asyncio.create_task(keep_running(name, loop), name=name))

    async def connect(self, *, reconnect: bool = True) -> None:
        """Hold the gateway connection.

        Raises:
            DiscordUnreachable: there was no first connection.
        """
        try:
            await super().connect(reconnect=reconnect)
        except AttributeError as error:
            # discord.py 2.7.1 trips over its own missing socket then (Rapptz/discord.py#10520)
            if self.ws is not None:
                raise
            raise DiscordUnreachable("Discord's gateway cannot be reached") from error

    async def close(self) -> None:
        """Stop the loops, then hang up."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await super().close()

    async def on_ready(self) -> None:
        """Say so; may happen again after a lost session."""
        log.info("ready as %s in %d guilds", self.user, len(self.guilds))

    async def _show_status(self) -> None:
        """Keep the status message up to date, whatever Discord and the tracker do."""
        while True:
            snapshot = (await self.project.refresh()).to_the_minute()
            try:
                await self._status_message.show(status_card(snapshot, self.feed.recent))
            except (discord.DiscordException, aiohttp.ClientError, OSError) as error:
                self._note_discord(error)
            else:
                self._note_discord(None)
            await asyncio.sleep(self.settings.status_seconds)

    def _note_discord(self, error: Exception | None) -> None:
        # once a spell of trouble, not once a try
        if error is not None and not self._discord_away:
            log.warning(
                "the status message cannot be shown in channel %d, trying on: %s",
                self.settings.status_channel,
                error,
            )
        elif error is None and self._discord_away:
            log.info("the status message is up to date again")
        self._discord_away = error is not None
