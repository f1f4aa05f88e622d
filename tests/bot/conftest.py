"""A tracker, a line to it, a fake Discord, and the unmodified bot between them."""

import warnings
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

with warnings.catch_warnings():
    # discord.py's voice, which nobody here uses, imports a module that Python 3.13 removes
    warnings.simplefilter("ignore", DeprecationWarning)
    import discord  # noqa: F401

from bot.bot import LaionBot
from tests.bot.house import House, Town, running_tracker
from tests.bot.line import Line
from tests.fake_discord import FakeDiscord


@pytest.fixture
async def house(
    redis: Redis, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[House]:
    # the tracker reads its numbers once a second at most; that would be most of these tests' time
    monkeypatch.setattr("tracker.stats._FRESH", 0.02)
    async with (
        running_tracker(redis, redis_url, tmp_path / "tracker") as tracker,
        Line(tracker.port) as line,
        FakeDiscord() as discord,
    ):
        town = Town(discord)
        await town.link_admin(tracker, town.alice)
        house = House(tracker, line, town, tmp_path / "bot")
        yield house
        told = "\n".join(repr(exchange.request) for exchange in discord.exchanges)
        assert not [secret for secret in house.secrets() if secret in told], "a token was told"


@pytest.fixture
async def bot(house: House) -> AsyncIterator[LaionBot]:
    async with house.bot() as bot:
        yield bot
