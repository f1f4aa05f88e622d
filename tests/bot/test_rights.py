"""Who may reassign jobs: four gates, each closed while the others stand open."""

from datetime import UTC, datetime, timedelta

import pytest

from bot import confirm
from bot.bot import LaionBot
from bot.stale import Filter, Reassignment
from laion_protocol import Forbidden, Role
from laion_protocol.client import TrackerClient
from tests.bot.acts import REASON, press, run
from tests.bot.house import House
from tests.fake_discord import texts, walk


async def test_others_do_not_even_see_the_commands(house: House, bot: LaionBot) -> None:
    town, people = house.town, house.discord.people
    with pytest.raises(PermissionError):
        await people.slash(town.bob, town.chat, "jobs stale")
    with pytest.raises(LookupError):
        await people.slash(town.mallory, town.lair, "jobs stale")
    with pytest.raises(LookupError):
        await people.slash(town.alice, house.discord.world.direct_channel(town.alice), "jobs stale")


async def test_the_bots_own_token_is_no_admins(house: House) -> None:
    """Whoever steals it gets the statistics, and may ask for what the tracker refuses."""
    async with TrackerClient(house.tracker.url, house.tracker.bot_token) as client:
        with pytest.raises(Forbidden):
            await client.stale_jobs()


async def test_the_tracker_refuses_whom_it_does_not_know(house: House, bot: LaionBot) -> None:
    """carol may manage the guild in Discord; the tracker knows nothing of her."""
    town = house.town
    (lease,) = await house.tracker.go_silent(1)
    for command, given in (("jobs stale", {}), ("jobs reassign", {"job": str(lease.job)})):
        done = await run(house, town.carol, town.chat, command, **given)
        assert done.message.ephemeral
        assert "not linked to an account of the tracker" in texts(done.message)
        assert f"which is `{town.carol.id}`" in texts(done.message)


async def test_the_tracker_refuses_a_linked_volunteer(house: House, bot: LaionBot) -> None:
    town = house.town
    await house.tracker.accounts.add("carol", Role.VOLUNTEER, town.carol.id)
    done = await run(house, town.carol, town.chat, "jobs stale")
    assert "only admins may do this" in texts(done.message)


async def test_without_discords_gate_the_tracker_still_refuses(house: House, bot: LaionBot) -> None:
    """A guild's admin can open a command to everybody, in the guild's Integrations."""
    town = house.town
    house.discord.commands.table(town.home.id)[0]["default_member_permissions"] = None
    done = await run(house, town.bob, town.chat, "jobs stale")
    assert "not linked" in texts(done.message)


async def test_another_guild_gets_nothing_even_for_an_admin(house: House, bot: LaionBot) -> None:
    """As if Discord offered the command there: alice is an admin everywhere."""
    town = house.town
    commands = house.discord.commands
    commands.replace(town.elsewhere.id, commands.table(town.home.id))
    for command in commands.table(town.elsewhere.id):
        command["guild_id"] = town.home.id
    done = await run(house, town.alice, town.lair, "jobs stale")
    assert texts(done.message) == confirm.NOT_HOME


async def test_a_button_that_got_into_another_guild_does_nothing(
    house: House, bot: LaionBot
) -> None:
    town = house.town
    (lease,) = await house.tracker.go_silent(1)
    asked = await run(house, town.alice, town.chat, "jobs reassign", job="all stale")
    asked.message.channel = town.lair
    clicked = await press(house, town.alice, asked, "Reassign")
    assert texts(clicked.message) == confirm.NOT_HOME
    assert await house.tracker.state_of(lease) == "leased"


async def test_rights_lost_between_look_and_confirm_are_lost(house: House, bot: LaionBot) -> None:
    town = house.town
    (lease,) = await house.tracker.go_silent(1)
    asked = await run(house, town.alice, town.chat, "jobs reassign", job="all stale")
    await house.tracker.accounts.revoke("alice")
    opened = await press(house, town.alice, asked, "Reassign")
    done = await house.discord.people.submit(opened, reason=REASON)
    await house.discord.signal.until(lambda: done.followups)
    assert "revoked" in texts(done.followups[0])
    assert done.followups[0].ephemeral
    assert await house.tracker.state_of(lease) == "leased"


async def test_another_persons_click_is_refused(house: House, bot: LaionBot) -> None:
    town = house.town
    await house.tracker.accounts.add("carol", Role.ADMIN, town.carol.id)
    (lease,) = await house.tracker.go_silent(1)
    asked = await run(house, town.alice, town.chat, "jobs reassign", job="all stale")
    for label in ("Reassign", "Cancel"):
        clicked = await press(house, town.carol, asked, label)
        assert clicked.message is not asked.message
        assert texts(clicked.message) == confirm.NOT_YOURS
        assert clicked.message.ephemeral
    assert asked.message.components
    assert await house.tracker.state_of(lease) == "leased"


async def test_another_persons_modal_is_refused(house: House, bot: LaionBot) -> None:
    town = house.town
    (lease,) = await house.tracker.go_silent(1)
    asked = await run(house, town.alice, town.chat, "jobs reassign", job="all stale")
    opened = await press(house, town.alice, asked, "Reassign")
    opened.user = town.carol
    done = await house.discord.people.submit(opened, reason=REASON)
    assert texts(done.message) == confirm.NOT_YOURS
    assert await house.tracker.state_of(lease) == "leased"


async def test_an_old_button_says_so_and_goes_away(house: House, bot: LaionBot) -> None:
    town = house.town
    (lease,) = await house.tracker.go_silent(1)
    asked = await run(house, town.alice, town.chat, "jobs reassign", job="all stale")
    old = Reassignment(
        invoker=int(town.alice.id),
        issued_at=datetime.now(UTC) - timedelta(minutes=11),
        silent_since=lease.leased_at,
        shown=1,
        filter=Filter(job=str(lease.job)),
    )
    buttons = [part for part in walk(asked.message.components) if part["type"] == 2]
    buttons[0]["custom_id"] = old.custom_id("y")
    await press(house, town.alice, asked, "Reassign")
    assert texts(asked.message) == confirm.EXPIRED
    assert not asked.message.components


@pytest.mark.parametrize("custom_id", ["rq:y:" + "_" * 32 + ":", "rq:y:" + "A" * 32 + ":../x"])
async def test_an_unreadable_button_is_one_that_expired(
    house: House, bot: LaionBot, custom_id: str
) -> None:
    town = house.town
    (lease,) = await house.tracker.go_silent(1)
    asked = await run(house, town.alice, town.chat, "jobs reassign", job="all stale")
    buttons = [part for part in walk(asked.message.components) if part["type"] == 2]
    buttons[0]["custom_id"] = custom_id
    await press(house, town.alice, asked, "Reassign")
    assert texts(asked.message) == confirm.EXPIRED
    assert await house.tracker.state_of(lease) == "leased"
