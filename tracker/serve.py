"""`serve`: one tracker process, from an empty directory to a clean stop."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import uvicorn
from redis.asyncio import Redis
from redis.exceptions import RedisError

from laion_protocol import Role, Unauthorized

from .accounts import Accounts
from .app import connect, create_app
from .place import (
    TOKEN_FILE,
    Address,
    CannotServe,
    admin_token,
    data_directory,
    listening,
    url_of,
    write_address,
)
from .private_redis import AppendFsync, PrivateRedis, PrivateRedisFailed
from .redis_check import check_redis, check_url
from .settings import Settings
from .store_id import check_store

log = logging.getLogger(__name__)

#: The account of the token in the data directory: whoever can read it runs the tracker.
OPERATOR: Final = "operator"
#: Seconds that running requests get to finish.
_GRACE: Final = 10


async def serve(
    settings: Settings, address: Address, *, appendfsync: AppendFsync = "everysec"
) -> None:
    """Serve until SIGTERM or SIGINT.

    With an empty `settings.redis_url`, a private Redis runs as long as the tracker does.

    Raises:
        CannotServe: with one sentence for the operator.
    """
    shared = bool(settings.redis_url)  # a private Redis has one tracker
    with data_directory(settings.data, shared=shared), listening(address) as listener:
        async with _database(settings, appendfsync) as (redis_url, died):
            async with connect(redis_url) as redis:
                await check_redis(redis, redis_url)
                await check_store(redis, redis_url, settings.data)
                await _ensure_operator(redis, settings.data)
            url = url_of(address.host, listener.getsockname()[1])
            write_address(settings.data, url)
            log.info("the tracker serves %s, its data is in %s", url, settings.data)
            await _run(replace(settings, redis_url=redis_url), listener, died)


@asynccontextmanager
async def _database(
    settings: Settings, appendfsync: AppendFsync
) -> AsyncIterator[tuple[str, "asyncio.Task[int] | None"]]:
    """Redis's URL, and a task that ends when a private one dies."""
    if settings.redis_url:
        check_url(settings.redis_url)
        yield settings.redis_url, None
        return
    try:
        async with PrivateRedis(settings.data / "redis", appendfsync=appendfsync) as private:
            died = asyncio.create_task(private.died())
            try:
                yield private.url, died
            finally:
                died.cancel()
    except PrivateRedisFailed as error:
        raise CannotServe(str(error), os.EX_UNAVAILABLE) from error


async def _ensure_operator(redis: Redis, data: Path) -> None:
    path, accounts = data / TOKEN_FILE, Accounts(redis)
    try:
        token, made = admin_token(data)
        # Whoever may delete the file runs the tracker: a new token takes the place of lost ones.
        await accounts.ensure(token, OPERATOR, Role.ADMIN, renew=made)
        await accounts.find(token)
    except Unauthorized:
        log.warning(
            "the token in %s is not taken any more: write an admin's token into it; or, unless "
            "the account %s was revoked, delete the file and start again, which makes a new token",
            path,
            OPERATOR,
        )
    except ValueError as error:
        raise CannotServe(
            f"{path} holds no token; delete it, and the next start makes a new one",
            os.EX_CONFIG,
        ) from error
    except OSError as error:
        raise CannotServe(
            f"{path} cannot be written or read ({error.strerror})", os.EX_CANTCREAT
        ) from error
    except RedisError as error:
        raise CannotServe(f"Redis refuses to write: {error}", os.EX_UNAVAILABLE) from error


class _Server(uvicorn.Server):
    """uvicorn's own way ends the process by the signal, before the private Redis is stopped."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        signals = (signal.SIGINT, signal.SIGTERM)
        for number in signals:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)


async def _run(
    settings: Settings, listener: socket.socket, died: "asyncio.Task[int] | None"
) -> None:
    config = uvicorn.Config(
        create_app(settings),
        lifespan="on",
        log_config=None,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_GRACE,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await asyncio.wait({serving} | ({died} if died else set()), return_when="FIRST_COMPLETED")
    dead = died is not None and died.done()
    server.should_exit = True
    await serving
    if dead and died is not None:
        raise CannotServe(
            f"the private redis-server ended (status {died.result()}); see "
            f"{settings.data / 'redis' / 'redis.log'}, then start the tracker again",
            os.EX_UNAVAILABLE,
        )
    if not server.started:
        raise CannotServe("the tracker did not start; its log says why", os.EX_SOFTWARE)
