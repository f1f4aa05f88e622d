"""`/jobs stale` and `/jobs reassign`: for the project's admins, in the home guild only."""

from typing import TYPE_CHECKING, Any, TypeAlias

import discord
from discord import app_commands
from discord.ext import commands

from ..cards import Card, Tone, job_lines, stale_card
from ..confirm import NOT_HOME, Cancel, Confirm, decision_view, take_reason
from ..layout import content
from ..stale import ALL_STALE, Filter, Person, Preview

if TYPE_CHECKING:
    from ..bot import LaionBot

Interaction: TypeAlias = "discord.Interaction[LaionBot]"
#: a week; a job's lease never lasts that long
Minutes = app_commands.Range[int, 1, 7 * 24 * 60]


@app_commands.guild_only()
@app_commands.default_permissions(manage_guild=True)
class Jobs(commands.GroupCog, name="jobs", description="Look after jobs"):
    """Discord's permissions only hide these commands; the tracker decides who may do what."""

    def __init__(self, bot: "LaionBot") -> None:
        self._bot = bot
        bot.add_dynamic_items(Confirm, Cancel)

    async def interaction_check(self, interaction: discord.Interaction[Any], /) -> bool:
        """Only the home guild: whoever adds the bot elsewhere is an admin of nothing here."""
        if interaction.guild_id == self._bot.settings.home_guild:
            return True
        if interaction.type is not discord.InteractionType.autocomplete:
            await interaction.response.send_message(NOT_HOME, ephemeral=True)
        return False

    @app_commands.command(description="Jobs whose workers are silent")
    @app_commands.describe(
        crawl="only this crawl", silent="minutes without a heartbeat; two heartbeats by default"
    )
    async def stale(
        self, interaction: Interaction, crawl: str | None = None, silent: Minutes | None = None
    ) -> None:
        """List them, silent longest first."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        which = Filter.parse(ALL_STALE, crawl, silent)
        found = await self._bot.desk.stale(_person(interaction), which)
        await interaction.edit_original_response(
            content=content(stale_card(found.total, found.jobs))
        )

    @app_commands.command(description="Take jobs from silent workers and give them to others")
    @app_commands.describe(
        job=f'a job as CRAWL/NUMBER, or "{ALL_STALE}"',
        crawl="with all stale: only this crawl",
        silent="with all stale: minutes without a heartbeat",
    )
    async def reassign(
        self,
        interaction: Interaction,
        job: str,
        crawl: str | None = None,
        silent: Minutes | None = None,
    ) -> None:
        """Show what would happen, and ask."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        which = Filter.parse(job, crawl, silent)
        preview = await self._bot.desk.preview(_person(interaction), which)
        if preview.reassignment is None:
            await interaction.edit_original_response(content=preview.explanation)
            return
        await interaction.edit_original_response(
            content=content(preview_card(preview, which)),
            view=decision_view(preview.reassignment),
        )

    @stale.autocomplete("crawl")
    @reassign.autocomplete("crawl")
    async def known_crawls(
        self, interaction: discord.Interaction[Any], typed: str
    ) -> list[app_commands.Choice[str]]:
        """Crawls by name, from the numbers known last: an autocomplete cannot wait."""
        stats = self._bot.project.latest.stats
        names = [crawl.name for crawl in stats.crawls] if stats else []
        found = [name for name in names if typed.lower() in name.lower() and len(name) <= 100]
        return [app_commands.Choice(name=name, value=name) for name in found[:25]]

    @reassign.autocomplete("job")
    async def known_jobs(
        self, interaction: discord.Interaction[Any], typed: str
    ) -> list[app_commands.Choice[str]]:
        """The words for all of them; a job's id is typed."""
        fits = ALL_STALE.startswith(typed.lower())
        return [app_commands.Choice(name=ALL_STALE, value=ALL_STALE)] if fits else []

    @commands.Cog.listener()
    async def on_interaction(self, interaction: Interaction) -> None:
        """Submitted modals; all other interactions have handlers of their own."""
        await take_reason(interaction)


def preview_card(preview: Preview, which: Filter) -> Card:
    """What a confirmation would do."""
    verb = "job would be" if preview.would == 1 else "jobs would be"
    title = f"{preview.would} {verb} given to other workers"
    if which.job is not None:
        return Card(title, Tone.WARNING, (((which.job,),),))
    more = preview.total - len(preview.sample)
    rest = ((f"{more} further stale jobs do not fit into one go.",),) if more > 0 else ()
    return Card(title, Tone.WARNING, (job_lines(len(preview.sample), preview.sample), rest))


def _person(interaction: Interaction) -> Person:
    return Person(interaction.user.id, interaction.id)
