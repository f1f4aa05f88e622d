"""`copied`: all of a Redis as it is at one instant, while it goes on being used.

The server is asked for what it gives a new replica: a snapshot, made by a forked process. A Redis
of our own reads it, and can be looked at in peace. So a backup blocks nobody, but needs as much
memory as the data, on this machine, and room for the file.
"""

import asyncio
import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from .private_redis import PrivateRedis
from .redis_cluster import Cluster

_PREFIX: Final = "laion-copy-"
_BLOCK: Final = 2**20
_SILENT: Final = 60.0  #: seconds; a server that makes a snapshot sends a sign of life all the time


class CopyRefused(Exception):
    """The server gives no snapshot; the message says why."""


class NoRoom(Exception):
    """The snapshot cannot be kept; the message says where."""


@asynccontextmanager
async def copied(redis: Redis) -> AsyncIterator[tuple[str, ...]]:
    """URLs of private servers that hold the copy: one, or one for each master of a cluster.

    Raises:
        CopyRefused: the server does not let us.
        NoRoom: the disk of temporary files is full.
        RedisError: it is away.
        PrivateRedisFailed: no server of our own could read the snapshot.
    """
    async with AsyncExitStack() as exit:
        # beside other temporary files, and not in the data directory: it may be on a full disk
        directory = exit.enter_context(_own_directory(Path(tempfile.gettempdir())))
        urls = []
        for number, connection in enumerate(await _connections(redis, exit)):
            here = directory / str(number)
            here.mkdir()
            await _receive(connection, here / PrivateRedis.SNAPSHOT)
            server = await exit.enter_async_context(PrivateRedis(here, snapshot=True))
            urls.append(server.url)
        yield tuple(urls)


@contextmanager
def _own_directory(parent: Path) -> Iterator[Path]:
    """A new directory, gone at the end. Those of copies that were killed go now: each holds all
    that a Redis knew."""
    for path in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError), _locked(path):
            shutil.rmtree(path)
    # Whoever took the new one for a dead one's, before it was locked, has removed it: this fails.
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent) as name, _locked(Path(name)):
        yield Path(name)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Nobody else uses it; the kernel frees the lock of whoever is killed.

    Raises:
        OSError: somebody does, or it is another user's.
    """
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


async def _connections(redis: Redis, exit: AsyncExitStack) -> list[Any]:
    """A connection of our own to each master. It is not given back: it has become a replica's."""
    if isinstance(redis, Cluster):
        clients: list[Redis] = await redis.masters()
    else:
        clients = [redis]
    found = []
    for client in clients:
        pool: Any = client.connection_pool
        connection = await pool.get_connection()
        exit.push_async_callback(pool.release, connection)
        exit.push_async_callback(connection.disconnect)
        found.append(connection)
    return found


async def _receive(connection: Any, path: Path) -> None:
    await connection.send_command("SYNC")
    # What follows is no answer as other commands give it, so redis-py cannot read it.
    stream: asyncio.StreamReader = connection._reader
    head = b"\n"
    while head == b"\n":  # signs of life
        async with asyncio.timeout(_SILENT):
            head = await stream.readline()
    if head.startswith(b"-"):
        raise CopyRefused(head[1:].decode(errors="replace").strip())
    if not head.startswith(b"$") or not head[1:].strip().isdigit():
        raise RedisError(f"no snapshot came, but {head[:100]!r}")
    left = int(head[1:])
    with path.open("wb") as file:
        while left:
            async with asyncio.timeout(_SILENT):
                block = await stream.read(min(_BLOCK, left))
            if not block:
                raise RedisError("the connection ended in the middle of the snapshot")
            try:
                await asyncio.to_thread(file.write, block)
            except OSError as error:
                raise NoRoom(f"{path.parent.parent} ({error.strerror})") from error
            left -= len(block)
