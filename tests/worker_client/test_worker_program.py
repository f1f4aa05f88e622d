"""The worker as the volunteer runs it: a process of its own, with signals and kill -9."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.tracker.running import until
from tests.worker_client.little_web import HeldServer
from tests.worker_client.project import Project, project
from worker_client.exit_codes import ExitCode

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")


@pytest.fixture
async def p(redis: Redis, redis_url: str, tmp_path: Path) -> AsyncIterator[Project]:
    async with project(redis, redis_url, tmp_path, server=HeldServer, checkers=1) as running:
        yield running


@asynccontextmanager
async def worker(
    p: Project, directory: Path, *args: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    token = directory / "token"
    token.write_text(p.settings.token)
    token.chmod(0o600)
    host, port = p.server.endpoint
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "worker_client", "run", "--tracker", p.tracker.url, "--token-file",
        str(token), "--worker", "box", "--state-dir", str(p.settings.state), "--connect-to",
        f"{host}:{port}", "--allow-private", f"{host}:{port}", "--decoders", "1", "--local-sources",
        str(p.archives[0].parent), "--stages", "hybrid", *args,
        stderr=asyncio.subprocess.PIPE, env={**os.environ, "XDG_CONFIG_HOME": str(directory)},
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_a_killed_worker_starts_again_under_the_same_lease(
    p: Project, tmp_path: Path
) -> None:
    async with worker(p, tmp_path) as process:
        await until(p.server.asked.is_set, 60)
        process.kill()
        await process.wait()
    p.server.go.set()
    await p.run()
    async with asyncio.timeout(40):
        while (await p.stats()).jobs.accepted != 1:  # noqa: ASYNC110 (another process does it)
            await asyncio.sleep(0.05)
    assert (await p.stats()).attempts == 1


async def test_sigterm_hands_the_job_back_at_once(p: Project, tmp_path: Path) -> None:
    async with worker(p, tmp_path) as process:
        await until(p.server.asked.is_set, 60)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            _, told = await process.communicate()
    assert process.returncode == ExitCode.INTERRUPTED
    assert b"handed back" in told
    assert b"Traceback" not in told
    assert (await p.stats()).jobs.pending == 1


async def test_ctrl_c_ends_a_worker_that_waits_for_work(p: Project, tmp_path: Path) -> None:
    await (await p.tracker.admin()).pause_crawl("CC-1")
    async with worker(p, tmp_path) as process:
        assert process.stderr is not None
        async with asyncio.timeout(60):
            while b"no job now" not in await process.stderr.readline():
                pass
            process.send_signal(signal.SIGINT)
            assert await process.wait() == ExitCode.OK


async def test_once_does_one_job_and_ends(p: Project, tmp_path: Path) -> None:
    p.archives[0].unlink()  # so that it ends soon
    async with worker(p, tmp_path, "--once") as process, asyncio.timeout(60):
        _, told = await process.communicate()
    assert process.returncode == ExitCode.OK
    assert b"failed (job)" in told
    assert p.settings.token.encode() not in told
