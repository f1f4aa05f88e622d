"""A tracker that runs, as the composition root builds it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from redis.asyncio import Redis

from laion_protocol import Role
from tests.tracker.running import Tracker, serving
from tests.tracker.s3_server import make_bucket, running_moto
from tracker.cli import main
from tracker.identity import Accounts
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
        dedupe_settle=timedelta(0),
        dedupe_takeover=timedelta(0),
    )


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The URL of an S3 server, started for the first test that asks."""
    with running_moto() as url:
        yield url


@pytest.fixture
async def bucket(moto: str, request: pytest.FixtureRequest) -> str:
    """A bucket of this test's own."""
    name = "b" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:20]
    await make_bucket(moto, name)
    return name


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


@pytest.fixture
async def run(tracker: Tracker, tmp_path: Path) -> Callable[..., Awaitable[str]]:
    """Runs a command of `python -m tracker` against the tracker; what it printed."""
    token = tmp_path / "token"
    token.write_text(tracker.admin_token + "\n")

    async def run(*args: str, status: int = 0, typed: str = "") -> str:
        where = ["--tracker", tracker.url, "--token-file", str(token)]
        result = await asyncio.to_thread(CliRunner().invoke, main, [*args, *where], input=typed)
        assert result.exit_code == status, result.output
        assert "Traceback" not in result.output
        return result.output

    return run
