"""`python -m bot` as a process of its own: killed, restarted, stopped, and refused."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import ValidationError

import bot.__main__ as bot_main
from bot.discord_api import use_discord_at
from bot.settings import Settings
from tests.bot.house import House
from tests.fake_discord import texts

ROOT = Path(__file__).parents[2]


class BotProcess:
    """One `python -m bot` and its standard error."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.lines.append(line.decode())

    @property
    def log(self) -> str:
        return "".join(self.lines)

    async def end(self, number: signal.Signals | None = None) -> int:
        """Its exit status, after a signal if one is given."""
        if number is not None and self.process.returncode is None:
            self.process.send_signal(number)
        status = await asyncio.wait_for(self.process.wait(), 60)
        await self._reading
        return status

    async def said(self, words: str) -> None:
        async with asyncio.timeout(60):
            while words not in self.log:
                assert self.process.returncode is None, self.log
                await asyncio.sleep(0.02)


@asynccontextmanager
async def bot_process(house: House) -> AsyncIterator[BotProcess]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bot",
        cwd=ROOT,
        env=os.environ | house.environment(),
        stderr=asyncio.subprocess.PIPE,
    )
    bot = BotProcess(process)
    try:
        yield bot
    finally:
        await bot.end(signal.SIGKILL)


async def test_killed_and_restarted_it_goes_on_where_it_was(house: House) -> None:
    town, people, signal_ = house.town, house.discord.people, house.discord.signal
    history = house.discord.messages.history
    (lease,) = await house.tracker.go_silent(1)

    async with bot_process(house) as bot:
        await bot.said("ready as")
        await signal_.until(lambda: len(history(town.status)) == 1)
        asked = await people.slash(town.alice, town.chat, "jobs reassign", job="all stale")
        await signal_.until(lambda: asked.done)
        other = await people.slash(town.alice, town.chat, "jobs reassign", job="all stale")
        await signal_.until(lambda: other.done)
        opened = await people.click(town.alice, other.message, "Reassign")
        await bot.end(signal.SIGKILL)

    await house.tracker.accept()
    async with bot_process(house) as bot:
        await bot.said("ready as")
        # the modal was open when the bot died; then the old button
        await people.submit(opened, reason="it is gone")
        await signal_.until(lambda: "Requeued 1 job." in texts(other.message))
        await people.click(town.alice, asked.message, "Cancel")
        assert texts(asked.message) == "Cancelled; nothing was changed."
        await signal_.until(lambda: "1 of 40 jobs" in texts(history(town.status)[0]))
        assert len(history(town.status)) == 1, "the status message was doubled"
        assert house.discord.commands.syncs == 2, "unchanged commands were registered again"

        assert await bot.end(signal.SIGTERM) == 0
        assert "Traceback" not in bot.log
        assert "stopped" in bot.log
    assert await house.tracker.state_of(lease) == "superseded"


async def test_it_waits_for_a_gateway_that_is_away(house: House) -> None:
    house.discord.gateway.refusing = True
    async with bot_process(house) as bot:
        await bot.said("starting again in")
        house.discord.gateway.refusing = False
        await bot.said("ready as")
        assert "gateway cannot be reached" in bot.log
        assert await bot.end(signal.SIGINT) == 0
    for secret in house.secrets():
        assert secret not in bot.log


async def test_a_wrong_token_ends_it_with_a_sentence(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    settings = house.settings(discord_token="wrong.secret.token")
    use_discord_at(house.discord.api, house.discord.gateway_url)
    assert await bot_main.run(settings) == 1
    assert "starting again is pointless" in caplog.text
    assert "wrong.secret.token" not in caplog.text


def test_wrong_settings_are_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {
        "DISCORD_TOKEN": "  ",
        "TRACKER_URL": "tracker.secret",
        "TRACKER_TOKEN": "lw_secret",
        "HOME_GUILD": "0",
        "STATUS_CHANNEL": "5",
        "STATUS_SECONDS": "nan",
    }.items():
        monkeypatch.setenv(f"LAION_BOT_{name}", value)
    assert bot_main.main() == 2
    told = capsys.readouterr().err
    for name in ("DISCORD_TOKEN", "TRACKER_URL", "HOME_GUILD", "STATUS_SECONDS"):
        assert f"  LAION_BOT_{name}: " in told
    assert "STATUS_CHANNEL" not in told
    assert "secret" not in told


def test_another_discord_needs_both_its_addresses() -> None:
    with pytest.raises(ValidationError, match="belong together"):
        Settings.model_validate(
            {
                "discord_token": "a",
                "tracker_token": "b",
                "tracker_url": "https://tracker.test",
                "home_guild": 1,
                "status_channel": 2,
                "discord_api": "http://127.0.0.1:1/api/v10",
            }
        )
