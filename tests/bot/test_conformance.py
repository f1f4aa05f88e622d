"""What bot and fake say is held against Discord's own OpenAPI document."""

import pytest

from tests.bot.house import House
from tests.bot.openapi import DOCUMENT, DiscordApi
from tests.fake_discord import Interaction

#: what discord.py itself sends otherwise than the document says; none is the bot's or the fake's
KNOWN: frozenset[str] = frozenset()


async def test_every_exchange_obeys_discords_own_document(house: House) -> None:
    if not DOCUMENT.exists():
        pytest.skip(
            f"NOT CHECKED against Discord's API: {DOCUMENT.name} is not beside this checkout"
        )
    town, people, signal = house.town, house.discord.people, house.discord.signal

    async def run(command: str, **given: object) -> Interaction:
        done = await people.slash(town.alice, town.chat, command, **given)
        await signal.until(lambda: done.done)
        return done

    async with house.bot():
        status = await _first(house)
        house.discord.messages.delete(status)
        await house.tracker.accept()
        await signal.until(lambda: house.discord.count("PATCH", status.id) and _pinned(house))
        await run("status")
        await house.tracker.go_silent(3)
        await run("jobs stale")
        await people.autocomplete(town.alice, town.chat, "jobs stale", "crawl", crawl="")
        asked = await run("jobs reassign", job="all stale")
        opened = await people.click(town.alice, asked.message, "Reassign")
        await people.click(town.carol, asked.message, "Cancel")
        await people.submit(opened, reason="it is gone")
        await signal.until(lambda: not asked.message.components)
        await people.slash(town.carol, town.chat, "jobs stale")
        asked = await run("jobs reassign", job="nonsense")
        await signal.until(lambda: asked.followups or asked.message.content)

    api = DiscordApi(DOCUMENT)
    exchanges = house.discord.exchanges
    faults = {fault for exchange in exchanges for fault in api.faults(exchange)}
    kinds = {(exchange.method, exchange.path.split("/")[1]) for exchange in exchanges}
    assert len(kinds) >= 8, kinds
    assert not faults - KNOWN, "\n".join(sorted(faults - KNOWN))
    assert not KNOWN - faults, "these deviations are gone; take them off the list"


async def _first(house: House):
    await house.discord.signal.until(lambda: _pinned(house))
    return house.discord.messages.history(house.town.status)[0]


def _pinned(house: House) -> bool:
    return any(message.pinned for message in house.discord.messages.history(house.town.status))
