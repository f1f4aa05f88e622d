"""A tracker that runs, as the composition root builds it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from redis.asyncio import Redis

from laion_protocol import Role
from tests.tracker.running import Tracker, serving
from tracker.accounts import Accounts
from tracker.settings import Settings


@pytest.fixture
def settings(redis_url: str, redis: Redis, tmp_path: Path) -> Settings:
    return Settings(
        data=tmp_path / "data",
        redis_url=redis_url,
        lease_duration=timedelta(seconds=30),
        min_free_bytes=0,
        reap_every=timedelta(seconds=0.2),
        checkers=0,
    )


StartTracker = Callable[..., Awaitable[Tracker]]


@pytest.fixture
async def start(settings: Settings, redis: Redis) -> AsyncIterator[StartTracker]:
    """Starts an app with changed settings; all are stopped when the test ends."""
    async with AsyncExitStack() as exit:

        async def start(**changes) -> Tracker:
            changed = replace(settings, **changes)
            url = await exit.enter_async_context(serving(changed))
            sessions = await exit.enter_async_context(AsyncExitStack())
            accounts = Accounts(redis)
            name = f"root{len(await accounts.rows())}"
            token = await accounts.add(name, Role.ADMIN)
            return Tracker(url, changed, redis, token, sessions)

        yield start


@pytest.fixture
async def tracker(start: StartTracker) -> Tracker:
    return await start()
