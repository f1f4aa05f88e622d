"""`/status` and the status message, on a fake Discord and a real tracker."""

import asyncio
import time

import pytest

from bot.bot import LaionBot
from bot.project import Project, Snapshot
from bot.state_file import StateFile
from laion_protocol.client import TrackerClient
from laion_protocol.messages import Stats
from tests.bot.house import CRAWL, House
from tests.fake_discord import V2, Channel, NoAnswer, User, texts


async def ask(house: House, who: User, where: Channel, *words: str) -> str:
    """`/status`: the text that comes in the end; asked again until it says all of these words,
    because the tracker's own numbers may be a second old."""
    text = ""
    for _ in range(30):
        done = await house.discord.people.slash(who, where, "status")
        await house.discord.signal.until(lambda done=done: done.done)
        text = texts(done.message)
        if all(word in text for word in words):
            return text
        await asyncio.sleep(0.1)
    pytest.fail(f"{words} not in {text}")


async def test_status_shows_the_trackers_own_numbers(house: House, bot: LaionBot) -> None:
    await house.tracker.accept(kept=30)
    await house.tracker.accept(kept=12)
    await house.tracker.go_silent(3)
    await house.tracker.beat_over_http()

    text = await ask(house, house.town.bob, house.town.chat, "4 leased")

    assert f"**{CRAWL}**" in text
    assert "**5.0 %** · 2 of 40 jobs accepted" in text
    assert "34 pending · 4 leased · 0 verifying · 0 dead" in text
    assert "42 samples kept of 82 pairs (51.2 %)" in text
    assert "2 jobs in the last hour, 2 in the last day · about" in text
    assert "3 stale jobs" in text
    assert "1 worker active" in text
    assert "numbers from <t:" in text


async def test_status_works_in_a_direct_message_and_in_any_guild(
    house: House, bot: LaionBot
) -> None:
    direct = house.discord.world.direct_channel(house.town.bob)
    assert "of 40 jobs accepted" in await ask(house, house.town.bob, direct)
    assert "of 40 jobs accepted" in await ask(house, house.town.mallory, house.town.lair)


async def test_status_answers_in_time_when_the_tracker_takes_ten_seconds(house: House) -> None:
    # with more patience than Discord's three seconds, as in production
    async with house.bot(timeout=3.5, status_seconds=3600) as bot:
        await bot.project.refresh()
        house.line.cut()
        house.line.restore()
        house.line.delay = 10.0
        began = time.monotonic()
        done = await house.discord.people.slash(house.town.bob, house.town.chat, "status")
        assert done.ack_seconds is not None
        assert done.ack_seconds < 3.0

        await house.discord.signal.until(lambda: done.done)
        text = texts(done.message)
        assert time.monotonic() - began < 10.0
        assert "The tracker does not answer" in text
        assert "0 of 40 jobs accepted" in text, "the last known numbers are missing"


async def test_many_who_ask_at_once_cost_one_question(house: House) -> None:
    class Counting(TrackerClient):
        asked = 0

        async def stats(self) -> Stats:
            self.asked += 1
            return await super().stats()

    async with Counting(house.tracker.url) as client:
        project = Project(client, StateFile(house.data / "stats.json", Stats))
        await asyncio.gather(*(project.refresh() for _ in range(20)))
        assert client.asked == 1
        await project.refresh()
        assert client.asked == 2


async def test_a_dead_tracker_is_told_with_the_last_known_numbers(
    house: House, bot: LaionBot
) -> None:
    await house.tracker.accept()
    await ask(house, house.town.bob, house.town.chat, "1 of 40 jobs accepted")
    house.line.cut()
    text = await ask(house, house.town.bob, house.town.chat)
    assert "The tracker does not answer.** It fell silent <t:" in text
    assert "1 of 40 jobs accepted" in text
    house.line.restore()
    assert "does not answer" not in await ask(house, house.town.bob, house.town.chat)


async def test_the_last_known_numbers_outlive_the_bot(house: House) -> None:
    await house.tracker.accept()
    async with house.bot() as bot:
        await bot.project.refresh()
    house.line.cut()
    async with house.bot():
        text = await ask(house, house.town.bob, house.town.chat)
    assert "does not answer" in text
    assert "1 of 40 jobs accepted" in text


async def test_a_bot_that_starts_before_its_tracker_says_that_nothing_is_known(
    house: House,
) -> None:
    house.line.cut()
    async with house.bot():
        text = await ask(house, house.town.bob, house.town.chat)
        assert "Nothing is known yet." in text
        house.line.restore()
        assert "0 of 40 jobs accepted" in await ask(house, house.town.bob, house.town.chat)


# ── the status message ───────────────────────────────────────────────────────────────────────────


async def the_message(house: House, *words: str):
    """The one status message, as soon as it says all of these."""
    history = house.discord.messages.history

    def shown() -> bool:
        found = history(house.town.status)
        return bool(found) and all(word in texts(found[0]) for word in words)

    try:
        await house.discord.signal.until(shown)
    except TimeoutError:
        pytest.fail(f"{words} not in {[texts(m) for m in history(house.town.status)]}")
    (message,) = history(house.town.status)
    return message


async def test_one_pinned_message_follows_the_crawl(house: House, bot: LaionBot) -> None:
    message = await the_message(house, "0 of 40")
    await house.discord.signal.until(lambda: message.pinned)
    assert message.flags & V2
    await house.tracker.accept(kept=30)
    await house.tracker.accept(kept=12)
    again = await the_message(house, "2 of 40", "**vera**: 2 shards of CC-TEST-1, 42 samples")
    assert again is message


async def test_equal_numbers_are_not_sent_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.discord.rate_limits.limits["PATCH", "messages"] = (1000, 1.0)
    looks = asyncio.Semaphore(0)
    refresh = Project.refresh

    async def counted(self: Project) -> Snapshot:
        looks.release()
        return await refresh(self)

    async with house.bot():
        message = await the_message(house, "0 of 40")
        await house.discord.signal.until(lambda: message.pinned)
        monkeypatch.setattr(Project, "refresh", counted)
        edits = message.edits
        for _ in range(6):
            await asyncio.wait_for(looks.acquire(), 30)
        # a minute may have ended meanwhile: the age of the numbers is told in minutes
        assert message.edits - edits <= 1


async def test_a_deleted_message_is_made_again(house: House, bot: LaionBot) -> None:
    first = await the_message(house, "0 of 40")
    house.discord.messages.delete(first)
    await house.tracker.accept()
    second = await the_message(house, "1 of 40")
    assert second.id != first.id
    await house.discord.signal.until(lambda: second.pinned)


async def test_a_restarted_bot_edits_the_old_message(house: House) -> None:
    async with house.bot():
        first = await the_message(house, "0 of 40")
    await house.tracker.accept()
    async with house.bot():
        assert await the_message(house, "1 of 40") is first


async def test_a_bot_that_lost_its_data_finds_its_message(house: House) -> None:
    async with house.bot():
        first = await the_message(house, "0 of 40")
    for file in house.data.iterdir():
        file.unlink()
    await house.tracker.accept()
    async with house.bot():
        assert await the_message(house, "1 of 40") is first


async def test_the_message_says_that_the_tracker_is_down_and_that_it_is_back(
    house: House, bot: LaionBot
) -> None:
    await the_message(house, "0 of 40")
    house.line.cut()
    await the_message(house, "does not answer", "0 of 40")
    house.line.restore()
    await house.tracker.accept()
    message = await the_message(house, "1 of 40")
    assert "does not answer" not in texts(message)


@pytest.mark.parametrize("status", [429, 502, 503, 0])
async def test_trouble_at_discord_passes(house: House, bot: LaionBot, status: int) -> None:
    await the_message(house, "0 of 40")
    house.discord.faults.fail_next("PATCH", "/messages/", status, retry_after=0.05)
    await house.tracker.accept()
    await the_message(house, "1 of 40")
    answers = [exchange.status for exchange in house.discord.exchanges]
    assert status == 0 or status in answers, "Discord had no trouble"


async def test_events_that_happened_while_the_bot_was_off_are_told_later(house: House) -> None:
    async with house.bot() as bot:
        await house.tracker.accept(kept=5)
        await the_message(house, "1 shard of CC-TEST-1")
        assert bot.feed.cursor is not None
    await house.tracker.accept(kept=7)
    async with house.bot():
        await the_message(house, "2 shards of CC-TEST-1, 12 samples")


async def test_the_three_second_rule_is_enforced_by_the_fake(house: House, bot: LaionBot) -> None:
    house.discord.people.ack_deadline = 0.05
    house.discord.faults.fail_next("POST", "/callback", 502, times=9)
    with pytest.raises(NoAnswer):
        await house.discord.people.slash(house.town.bob, house.town.chat, "status")
