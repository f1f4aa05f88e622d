"""Projects that workers work for."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.worker_client.project import Project, project

Start = Callable[..., Awaitable[Project]]


@pytest.fixture
async def start(redis: Redis, redis_url: str, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts a project with these options; it is stopped when the test ends."""
    async with AsyncExitStack() as exit:

        async def start(**options) -> Project:
            return await exit.enter_async_context(project(redis, redis_url, tmp_path, **options))

        yield start
