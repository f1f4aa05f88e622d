"""The real app, built by the composition root and served by uvicorn on a free port."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import aiohttp
import uvicorn
from redis.asyncio import Redis

from laion_protocol import Recipe, Role, SourceKind
from laion_protocol.client import TrackerClient
from laion_protocol.messages import NewAccount, NewCrawl
from tracker.settings import Settings
from tracker.web_server import web_config

RECIPE = Recipe(kind=SourceKind.WARC, min_similarity=0.2, min_image_bytes=100)


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[str]:
    """The URL of an app of these settings."""
    server = uvicorn.Server(web_config(settings, port=0, timeout_graceful_shutdown=1))
    task = asyncio.create_task(server._serve())  # serve() would take the process's signals
    try:
        while not server.started:
            assert not task.done(), "the app did not start"
            await asyncio.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


async def until(true: Callable[[], object], seconds: float = 10) -> None:
    """Wait for something that happens in another task or process."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.01)


@dataclass
class Tracker:
    """A running app; `client` opens a session with it that a test's end closes."""

    url: str
    settings: Settings
    redis: Redis
    admin_token: str
    exit: AsyncExitStack

    async def client(self, token: str | None, *, patience: float = 0) -> TrackerClient:
        return await self.exit.enter_async_context(
            TrackerClient(self.url, token, patience=patience)
        )

    async def admin(self) -> TrackerClient:
        return await self.client(self.admin_token)

    async def account(self, name: str, role: Role = Role.VOLUNTEER, discord_id=None) -> str:
        new = NewAccount(name=name, role=role, discord_id=discord_id)
        return (await (await self.admin()).add_account(new)).token

    async def worker(self, name: str = "ann") -> TrackerClient:
        return await self.client(await self.account(name))

    async def add_crawl(self, name: str = "CC-1", files: int = 3, **fields) -> str:
        fields = {"recipe": RECIPE, "base": "https://example.org/", "seed": 1, **fields}
        paths = tuple(f"warc/{index}.warc.gz" for index in range(files))
        added = await (await self.admin()).add_crawl(NewCrawl(name=name, paths=paths, **fields))
        return added.recipe_sha256

    async def raw(self) -> aiohttp.ClientSession:
        return await self.exit.enter_async_context(aiohttp.ClientSession(self.url))
