"""The buttons under a preview, and the question for a reason.

They carry their state in the custom_id, so they work after a restart of the bot. They are bound to
the person who asked, to the home guild and to ten minutes; the tracker decides about rights.
"""

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias

import discord
from discord import ui

from .failures import told
from .stale import CANCEL, CONFIRM, Filter, Person, Reassignment, Result, Verb

if TYPE_CHECKING:
    from .bot import LaionBot

Interaction: TypeAlias = "discord.Interaction[LaionBot]"

EXPIRED = "This was too long ago; run /jobs reassign again to see how things are now."
NOT_YOURS = "Only the person who ran the command can use its buttons."
NOT_HOME = "Jobs can be reassigned in the project's own server only."
MAX_REASON = 300


class _Decision(ui.DynamicItem[ui.Button[Any]], template="never"):
    """What both buttons share: who may press, and until when."""

    verb: ClassVar[Verb]
    label: ClassVar[str]
    style: ClassVar[discord.ButtonStyle]

    def __init__(self, reassignment: Reassignment) -> None:
        custom_id = reassignment.custom_id(self.verb)
        super().__init__(ui.Button(label=self.label, style=self.style, custom_id=custom_id))
        self.reassignment = reassignment

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction[Any], item: ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        """The button again, from what its custom_id carries."""
        reassignment = Reassignment.parse(match.string, cls.verb)
        if reassignment is None:  # another version's button; it is answered as one that expired
            long_ago = datetime.fromtimestamp(0, UTC)
            reassignment = Reassignment(interaction.user.id, long_ago, long_ago, 0, Filter())
        return cls(reassignment)

    async def interaction_check(self, interaction: discord.Interaction[Any], /) -> bool:
        """Tells a person why a button is not theirs to press."""
        return await may_decide(interaction, self.reassignment)


async def may_decide(interaction: Interaction, reassignment: Reassignment) -> bool:
    """True when this person may go on; else they are told why not."""
    if interaction.guild_id != interaction.client.settings.home_guild:
        await interaction.response.send_message(NOT_HOME, ephemeral=True)
    elif interaction.user.id != reassignment.invoker:
        await interaction.response.send_message(NOT_YOURS, ephemeral=True)
    elif reassignment.expired():
        await interaction.response.edit_message(content=EXPIRED, view=None)
    else:
        return True
    return False


class Confirm(_Decision, template=CONFIRM):
    """Goes on to ask for a reason."""

    verb, label, style = "y", "Reassign", discord.ButtonStyle.danger

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        """Open the modal."""
        async with told(interaction):
            await interaction.response.send_modal(ReasonModal(self.reassignment))


class Cancel(_Decision, template=CANCEL):
    """Takes the buttons away."""

    verb, label, style = "n", "Cancel", discord.ButtonStyle.secondary

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        """Say that nothing happened."""
        async with told(interaction):
            await interaction.response.edit_message(
                content="Cancelled; nothing was changed.", view=None
            )


def decision_view(reassignment: Reassignment) -> ui.View:
    """Confirm and Cancel."""
    view = ui.View(timeout=None)
    view.add_item(Confirm(reassignment))
    view.add_item(Cancel(reassignment))
    return view


class ReasonModal(ui.Modal):
    """Asks why. Its answer is taken by `take_reason`, also when the bot was restarted meanwhile."""

    def __init__(self, reassignment: Reassignment) -> None:
        super().__init__(title="Reassign jobs", custom_id=reassignment.custom_id("r"))
        reason: ui.TextInput[Any] = ui.TextInput(
            custom_id="reason", min_length=3, max_length=MAX_REASON
        )
        self.add_item(
            ui.Label(
                text="Reason", description="It is kept with the jobs' history.", component=reason
            )
        )


async def take_reason(interaction: Interaction) -> None:
    """Do what a submitted `ReasonModal` asks for; leaves all other interactions alone."""
    data: Any = interaction.data or {}
    if interaction.type is not discord.InteractionType.modal_submit:
        return
    reassignment = Reassignment.parse(data["custom_id"], "r")
    if reassignment is None:
        return
    async with told(interaction):
        if not await may_decide(interaction, reassignment):
            return
        await interaction.response.defer()
        person = Person(interaction.user.id, interaction.id)
        reason = " ".join(_typed(data).split())[:MAX_REASON] or "no reason given"
        result = await interaction.client.desk.reassign(person, reassignment, reason)
        await interaction.edit_original_response(content=result_text(result), view=None)


def result_text(result: Result) -> str:
    """What happened, in a sentence for each kind."""
    parts = [f"Requeued {_jobs(result.requeued)}."]
    if result.alive:
        parts.append(f"{_jobs(result.alive)} came back or finished meanwhile: left alone.")
    if result.unchanged:
        parts.append(f"{_jobs(result.unchanged)} unchanged: nobody held them any more.")
    if result.unknown:
        parts.append(f"{_jobs(result.unknown)} unknown to the tracker.")
    return " ".join(parts)


def _jobs(number: int) -> str:
    return f"{number} job{'' if number == 1 else 's'}"


def _typed(data: Any) -> str:
    for row in data.get("components", []):
        part = row.get("component") or {}
        if part.get("custom_id") == "reason":
            return str(part.get("value", ""))
    return ""
