"""`python -m bot`: settings from the environment, then one bot after another until told to stop."""

import asyncio
import logging
import signal
import sys
import time

import aiohttp
import discord
from pydantic import ValidationError

from laion_protocol.backoff import full_jitter
from laion_protocol.client import TrackerClient

from . import logs
from .bot import DiscordUnreachable, LaionBot
from .discord_api import use_discord_at
from .settings import ENV_PREFIX, Settings

log = logging.getLogger("bot")

#: Cap of the back-off between two starts, seconds. Discord takes 1000 IDENTIFYs a day and then
#: resets the token; full jitter under this cap makes fewer than 600.
LONGEST_PAUSE = 300.0
#: seconds after which a start counts as having worked
HEALTHY = 600.0
#: seconds for one call to the tracker, and for repeating it
TIMEOUT, PATIENCE = 5.0, 8.0


def main() -> int:
    """The exit status: 0 when told to stop, 1 when Discord refuses, 2 for wrong settings."""
    try:
        settings = Settings()  # type: ignore[call-arg]  # they come from the environment
    except ValidationError as error:
        sys.stderr.write(wrong_settings(error))
        return 2
    logs.set_up(
        settings.discord_token.get_secret_value(), settings.tracker_token.get_secret_value()
    )
    if settings.discord_api is not None and settings.discord_gateway is not None:
        use_discord_at(settings.discord_api, settings.discord_gateway)
    return asyncio.run(run(settings))


def wrong_settings(error: ValidationError) -> str:
    """One line a setting; never its value, which may be a token."""
    lines = []
    for fault in error.errors(include_input=False, include_url=False):
        where = ".".join(str(part) for part in fault["loc"])
        lines.append(f"{ENV_PREFIX}{where.upper()}: {fault['msg']}" if where else fault["msg"])
    return "The bot's settings are incomplete:\n" + "".join(f"  {line}\n" for line in lines)


async def run(settings: Settings) -> int:
    """Keep a bot running until SIGTERM or Ctrl-C; start it afresh, with back-off, when it dies."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    waits = full_jitter(cap=LONGEST_PAUSE)
    while not stop.is_set():
        began = time.monotonic()
        try:
            await live(settings, stop)
        except (discord.LoginFailure, discord.PrivilegedIntentsRequired) as error:
            log.critical("Discord refuses the bot, starting again is pointless: %s", error)
            return 1
        except (
            discord.DiscordException,
            DiscordUnreachable,
            aiohttp.ClientError,
            OSError,
        ) as error:
            log.warning("the connection to Discord failed: %s", error)
        if stop.is_set():
            break
        if time.monotonic() - began > HEALTHY:
            waits = full_jitter(cap=LONGEST_PAUSE)
        pause = next(waits)
        log.warning("starting again in %.0f s", pause)
        await _sleep(pause, stop)
    log.info("stopped")
    return 0


async def live(settings: Settings, stop: asyncio.Event) -> None:
    """One bot, from login to its end, or until `stop` is set."""
    client = TrackerClient(
        settings.tracker_url,
        settings.tracker_token.get_secret_value(),
        user_agent="laion-bot",
        timeout=TIMEOUT,
        patience=PATIENCE,
    )
    async with client as tracker, LaionBot(settings, tracker) as bot:
        running = asyncio.create_task(bot.start(settings.discord_token.get_secret_value()))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not running.done():
            await bot.close()
            running.cancel()
        await asyncio.gather(stopping, return_exceptions=True)
        try:
            await running
        except asyncio.CancelledError:
            if not stop.is_set():
                raise


async def _sleep(seconds: float, stop: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


if __name__ == "__main__":
    sys.exit(main())
