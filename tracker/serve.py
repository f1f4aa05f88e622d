"""`serve`: a tracker, of one process or several, from an empty directory to a clean stop."""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from laion_protocol import Role, Unauthorized

from .connection import connect
from .exit_status import USAGE
from .fleet import Fleet
from .identity import Accounts
from .one_process import run_process
from .open_store import NoStore, open_store
from .place import (
    TOKEN_FILE,
    Address,
    CannotServe,
    admin_token,
    check_disk,
    data_directory,
    listening,
    raise_file_limit,
    url_of,
    write_address,
)
from .private_redis import AppendFsync, PrivateRedis, PrivateRedisFailed
from .redis_check import check_redis, check_url, masked
from .schema import ensure_schema
from .settings import Settings
from .shard_store import ShardStore
from .store_id import check_store, share_address_key

log = logging.getLogger(__name__)

#: The account of the token in the data directory: whoever can read it runs the tracker.
OPERATOR: Final = "operator"


async def serve(
    settings: Settings,
    address: Address,
    *,
    appendfsync: AppendFsync = "everysec",
    workers: int = 1,
) -> None:
    """Serve until SIGTERM or SIGINT, with `workers` processes.

    With an empty `settings.redis_url`, a private Redis runs as long as the tracker does.

    Raises:
        CannotServe: with one sentence for the operator.
    """
    shared = bool(settings.redis_url)  # a private Redis has one tracker
    with data_directory(settings.data, shared=shared), listening(address) as listener:
        check_disk(settings.data)
        raise_file_limit()
        store = _store(settings)
        async with _database(settings, appendfsync) as (redis_url, died):
            async with connect(redis_url) as redis:
                log.info("asking Redis at %s", masked(redis_url))
                await check_redis(redis, redis_url)
                await ensure_schema(redis)
                await check_store(redis, redis_url, store)
                if settings.store_url:  # else all who have the store have its directory
                    await share_address_key(store, settings.data)
                await _ensure_operator(redis, settings.data)
            url = url_of(address.host, listener.getsockname()[1])
            write_address(settings.data, url)
            log.info("the tracker serves %s, its data is in %s", url, settings.data)
            await _run(replace(settings, redis_url=redis_url), listener, died, workers)


def _store(settings: Settings) -> ShardStore:
    try:
        return open_store(settings)
    except NoStore as error:
        raise CannotServe(str(error), USAGE) from error
    except OSError as error:
        raise CannotServe(
            f"{settings.data} cannot be written ({error.strerror}); choose another --data",
            os.EX_CANTCREAT,
        ) from error


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


async def _run(
    settings: Settings,
    listener: socket.socket,
    died: "asyncio.Task[int] | None",
    workers: int,
) -> None:
    if workers > 1:
        await Fleet(settings, listener, workers).run(died)
    else:
        await run_process(settings, listener, died)
    if died is not None and died.done():
        raise CannotServe(
            f"the private redis-server ended (status {died.result()}); see "
            f"{settings.data / 'redis' / 'redis.log'}, then start the tracker again",
            os.EX_UNAVAILABLE,
        )
