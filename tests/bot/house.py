"""What the bot lives in: a real tracker on a port, and a fake Discord with people in it."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import uvicorn
from redis.asyncio import Redis

from bot.bot import LaionBot
from bot.discord_api import use_discord_at
from bot.settings import Settings
from laion_protocol import Counts, DropReason, FileEntry, Manifest, Recipe, Role, SourceDigest
from laion_protocol import SourceKind as Kind
from laion_protocol.client import TrackerClient
from laion_protocol.messages import AuditRow, LeaseRequest, NewCrawl, Progress
from tests.bot.line import Line
from tests.fake_discord import FakeDiscord, User
from tests.fake_discord.world import Permission
from tracker.app import create_app
from tracker.audit import Audit
from tracker.identity import Accounts
from tracker.queue import HeldLease, JobQueue, keys
from tracker.settings import Settings as TrackerSettings

CRAWL = "CC-TEST-1"


class Tracker:
    """A real tracker, and the means to make things happen in it."""

    def __init__(self, redis: Redis, port: int) -> None:
        self.redis, self.port = redis, port
        self.queue = JobQueue(redis, max_held=10_000, max_held_account=10_000)
        self.accounts = Accounts(redis)
        self.bot_token = ""
        self.volunteer_token = ""
        self._leased = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def settle_in(self) -> None:
        """An account for the bot, one for a volunteer, and a crawl of 40 jobs."""
        self.bot_token = await self.accounts.add("discord-bot", Role.BOT)
        self.volunteer_token = await self.accounts.add("vera", Role.VOLUNTEER)
        await self.add_crawl(CRAWL)

    async def add_crawl(self, name: str, jobs: int = 40) -> None:
        paths = tuple(f"{number:05}.warc.gz" for number in range(jobs))
        recipe = Recipe(kind=Kind.WARC)
        await self.queue.add(NewCrawl(name=name, base="https://x.test", paths=paths, recipe=recipe))

    async def lease(self, crawl: str = CRAWL, account: str = "vera") -> HeldLease:
        self._leased += 1
        lease = await self.queue.lease(crawl, account, f"pc-{self._leased}")
        assert isinstance(lease, HeldLease)
        return lease

    async def go_silent(
        self, jobs: int, *, for_: timedelta = timedelta(hours=1), crawl: str = CRAWL
    ) -> list[HeldLease]:
        """Lease jobs, and let their last heartbeats have been long ago."""
        leases = [await self.lease(crawl) for _ in range(jobs)]
        beats = keys.meta(crawl).removesuffix("meta") + "beats"
        for number, lease in enumerate(leases):
            ago = for_.total_seconds() * 1000 + number
            await self.redis.zadd(beats, {str(lease.job.index): int(time.time() * 1000 - ago)})
        return leases

    async def beat(self, lease: HeldLease) -> None:
        """The worker is back."""
        await self.queue.extend(lease.lease_id, lease.account, Progress(stage="download"))

    async def accept(self, account: str = "vera", kept: int = 30) -> None:
        """One more job is done."""
        lease = await self.lease(account=account)
        counts = Counts(pairs=kept + 20, kept=kept, drops={DropReason.DNS: 20})
        manifest = Manifest(
            recipe_sha256="0" * 64,
            worker_version="1.0",
            filter_version="1",
            model_sha256="1" * 64,
            source=SourceDigest(
                path="x", part=0, parts=1, first_byte=0, end_byte=1, pairs_sha256="2" * 64
            ),
            counts=counts,
            files=(FileEntry(name="shard.parquet", size=10, sha256="3" * 64),),
            seconds=1.5,
        )
        await self.queue.complete(lease.lease_id, account, manifest)
        await self.queue.claim_verification(lease.job.crawl, timedelta(minutes=1))
        await self.queue.accept(lease.lease_id, counts, 10)

    async def beat_over_http(self) -> None:
        """A worker asks over HTTP, as workers do: it counts as active then."""
        async with TrackerClient(self.url, self.volunteer_token) as client:
            await client.lease(LeaseRequest(worker="pc-http", version="1.0"))

    async def audit(self) -> tuple[AuditRow, ...]:
        return await Audit(self.redis).rows(100)

    async def state_of(self, lease: HeldLease) -> str:
        receipt = await self.queue.receipt(lease.lease_id, lease.account)
        return str(receipt.outcome or receipt.state)


@asynccontextmanager
async def running_tracker(redis: Redis, redis_url: str, data: Path) -> AsyncIterator[Tracker]:
    """The tracker as `python -m tracker serve` would run it, without its verifier's checkers."""
    # the tests accept shards themselves
    settings = TrackerSettings(
        data=data, redis_url=redis_url, checkers=0, reap_every=timedelta(hours=1)
    )
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            create_app(settings), log_config=None, timeout_graceful_shutdown=1, lifespan="on"
        )
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            assert not task.done(), task
            await asyncio.sleep(0.01)
        tracker = Tracker(redis, listener.getsockname()[1])
        await tracker.settle_in()
        try:
            yield tracker
        finally:
            server.should_exit = True
            await task


class Town:
    """The fake Discord with its people and places.

    alice is an admin, in Discord and at the tracker; carol in Discord only; bob is nobody's admin;
    mallory rules a guild of her own, to which she has added the bot.
    """

    def __init__(self, discord: FakeDiscord) -> None:
        self.discord, world = discord, discord.world
        self.home = world.add_guild("crawl")
        self.status = world.add_channel(self.home, "status")
        self.chat = world.add_channel(self.home, "chat")
        self.alice, self.bob, self.carol, self.mallory = (
            world.add_user(name) for name in ("alice", "bob", "carol", "mallory")
        )
        keeper = self.home.add_role("keeper", Permission.MANAGE_GUILD)
        for user in (self.alice, self.carol):
            self.home.add_member(user, keeper)
        self.home.add_member(self.bob)
        self.elsewhere = world.add_guild("elsewhere")
        self.lair = world.add_channel(self.elsewhere, "lair")
        boss = self.elsewhere.add_role("boss", Permission.ADMINISTRATOR)
        for user in (self.mallory, self.alice):
            self.elsewhere.add_member(user, boss)

    async def link_admin(self, tracker: Tracker, user: User) -> None:
        await tracker.accounts.add(user.name, Role.ADMIN, user.id)


class House:
    """Tracker, line, Discord and settings of one test."""

    def __init__(self, tracker: Tracker, line: Line, town: Town, data: Path) -> None:
        self.tracker, self.line, self.town = tracker, line, town
        self.discord = town.discord
        self.data = data

    def settings(self, **changed: object) -> Settings:
        fields: dict[str, object] = {
            "discord_token": self.discord.token,
            "tracker_url": self.line.url,
            "tracker_token": self.tracker.bot_token,
            "home_guild": int(self.town.home.id),
            "status_channel": int(self.town.status.id),
            "data_dir": self.data,
            "status_seconds": 0.05,
            "discord_api": self.discord.api,
            "discord_gateway": self.discord.gateway_url,
        }
        return Settings.model_validate(fields | changed)

    def environment(self) -> dict[str, str]:
        """The same settings for `python -m bot`."""
        settings = self.settings(status_seconds=0.2)
        values = settings.model_dump() | {
            "discord_token": self.discord.token,
            "tracker_token": self.tracker.bot_token,
        }
        return {f"LAION_BOT_{name.upper()}": str(value) for name, value in values.items()}

    def secrets(self) -> tuple[str, ...]:
        return (self.discord.token, self.tracker.bot_token, "lw_")

    @asynccontextmanager
    async def bot(self, *, timeout: float = 15.0, **changed: object) -> AsyncIterator[LaionBot]:
        """The bot, ready, in this process; it waits so many seconds for one answer."""
        settings = self.settings(**changed)
        use_discord_at(self.discord.api, self.discord.gateway_url)
        client = TrackerClient(
            settings.tracker_url,
            settings.tracker_token.get_secret_value(),
            timeout=timeout,
            patience=0.5,
        )
        async with client as tracker, LaionBot(settings, tracker) as bot:
            bot._connection.guild_ready_timeout = 0.02
            running = asyncio.create_task(bot.start(self.discord.token))
            ready = asyncio.create_task(bot.wait_until_ready())
            await asyncio.wait({running, ready}, timeout=10, return_when="FIRST_COMPLETED")
            if running.done():
                running.result()
            assert ready.done()
            yield bot
            await bot.close()
            await running
