"""The feed against a real tracker: nothing is lost, nothing is told twice."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bot.feed import Feed, FeedState
from bot.logs import Redacting
from bot.state_file import StateFile
from bot.supervise import keep_running
from laion_protocol.client import TrackerClient
from laion_protocol.events import ShardAccepted
from tests.bot.house import House


async def until(predicate: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not predicate():  # noqa: ASYNC110 (no event tells of the things waited for)
            await asyncio.sleep(0.01)


@asynccontextmanager
async def following(house: House, path: Path) -> AsyncIterator[Feed]:
    async with TrackerClient(house.line.url, house.tracker.bot_token, patience=0.1) as client:
        feed = Feed(client, StateFile(path, FeedState), longest_wait=0.05)
        task = asyncio.create_task(feed.follow())
        try:
            yield feed
        finally:
            task.cancel()
            await asyncio.wait({task})


def kept(feed: Feed) -> list[int]:
    return [event.kept for event in feed.recent if isinstance(event, ShardAccepted)]


async def test_it_goes_on_from_its_cursor(house: House, tmp_path: Path) -> None:
    path = tmp_path / "feed.json"
    async with following(house, path) as feed:
        await accept_until_seen(house, feed, 1)
        house.line.cut()
        await house.tracker.accept(kept=2)
        house.line.restore()
        await until(lambda: kept(feed)[-1] == 2)
    await house.tracker.accept(kept=3)
    await house.tracker.accept(kept=4)
    async with following(house, path) as feed:
        await until(lambda: kept(feed)[-1] == 4)
        assert [number for number in kept(feed) if number > 1] == [2, 3, 4]


async def accept_until_seen(house: House, feed: Feed, number: int) -> None:
    """A feed without a cursor begins "from now on": let things happen until it has heard of one."""
    async with asyncio.timeout(30):
        while not kept(feed):
            await house.tracker.accept(kept=number)
            await asyncio.sleep(0.3)


async def test_a_cursor_that_the_tracker_does_not_know_is_given_up(
    house: House, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "feed.json"
    StateFile(path, FeedState).save(FeedState(cursor="not a cursor"))
    async with following(house, path) as feed:
        await until(lambda: feed.cursor is None)
        await until(lambda: "does not know the feed's cursor" in caplog.text)
        await accept_until_seen(house, feed, 9)
        assert set(kept(feed)) == {9}


async def test_an_outage_is_logged_once(
    house: House, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    house.line.cut()
    async with following(house, tmp_path / "feed.json"):
        await until(lambda: "feed is away" in caplog.text)
        await asyncio.sleep(0.3)
    assert caplog.text.count("feed is away") == 1


def test_a_broken_file_is_as_good_as_none(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "feed.json"
    file = StateFile(path, FeedState)
    assert file.load() is None
    file.save(FeedState(cursor="7"))
    assert file.load() == FeedState(cursor="7")
    assert [left.name for left in path.parent.iterdir()] == ["feed.json"]
    path.write_text('{"cursor": ')
    assert file.load() is None


async def test_a_full_disk_stops_nothing(
    house: House, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no directory")
    async with following(house, tmp_path / "file" / "feed.json") as feed:
        await accept_until_seen(house, feed, 1)
        seen = len(kept(feed))
        await house.tracker.accept(kept=2)
        await until(lambda: len(kept(feed)) > seen)
    assert caplog.text.count("cannot be written") == 1


async def test_a_loop_that_breaks_or_ends_is_started_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    runs = 0

    async def loop() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise ZeroDivisionError("once")
        if runs == 3:
            await asyncio.Event().wait()

    task = asyncio.create_task(keep_running("test", loop, base=0.001, cap=0.002))
    await until(lambda: runs == 3)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert "the test loop broke" in caplog.text
    assert "the test loop ended" in caplog.text


def test_no_token_gets_into_a_log() -> None:
    secrets = ("discord.secret", "lw_0011aa_" + "f" * 64)
    url = "POST http://x/api/v10/webhooks/123/aW50ZXJhY3Rpb24_x-y/messages/@original"
    delegated = f"delegated lw_abc123_{'0' * 64}; /interactions/9/tok.en-1/callback"
    try:
        raise ValueError(delegated)
    except ValueError as error:
        info = (type(error), error, error.__traceback__)
    message = f"{secrets[0]} {secrets[1]} {url}"
    record = logging.LogRecord("x", logging.ERROR, __file__, 1, message, (), info)
    line = Redacting(*secrets).format(record)
    for token in (*secrets, "aW50", "tok.en", "lw_", "0" * 8):
        assert token not in line
    assert "/webhooks/123/[hidden]/messages/@original" in line
    assert "/interactions/9/[hidden]/callback" in line
