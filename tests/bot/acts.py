"""What admins do in the tests of `/jobs`."""

from collections.abc import Iterable

from tests.bot.house import House
from tests.fake_discord import Channel, Interaction, User, texts
from tracker.queue import HeldLease

REASON = "the machine is gone"


async def run(house: House, who: User, where: Channel, command: str, **given) -> Interaction:
    """A command, and its answer as it is in the end."""
    done = await house.discord.people.slash(who, where, command, **given)
    await house.discord.signal.until(lambda: done.done)
    return done


async def press(house: House, who: User, asked: Interaction, label: str) -> Interaction:
    return await house.discord.people.click(who, asked.message, label)


async def confirm_with(house: House, who: User, asked: Interaction, reason: str = REASON) -> str:
    """Press Reassign, give the reason; what the message says in the end."""
    opened = await press(house, who, asked, "Reassign")
    await house.discord.people.submit(opened, reason=reason)
    await house.discord.signal.until(lambda: not asked.message.components)
    return texts(asked.message)


async def outcomes(house: House, leases: Iterable[HeldLease]) -> list[str]:
    return [await house.tracker.state_of(lease) for lease in leases]
