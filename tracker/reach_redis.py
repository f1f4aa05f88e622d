"""`reach_redis`: the Redis of a tracker that may run or not, for commands beside it."""

import os
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from .place import CannotServe, data_directory
from .private_redis import PrivateRedis, PrivateRedisFailed
from .redis_check import check_url


@asynccontextmanager
async def reach_redis(data: Path, redis_url: str, *, alone: bool = False) -> AsyncIterator[str]:
    """The URL of `redis_url`, or of the private Redis in `data`: of the tracker that runs there,
    else of a server that runs as long as this lasts. With `alone`, no tracker may run in `data`.

    Raises:
        CannotServe: it cannot be reached.
    """
    if redis_url:
        check_url(redis_url)
        yield redis_url
        return
    directory = data / "redis"
    if not alone and not directory.is_dir():
        raise CannotServe(
            f"{data} holds no tracker's Redis; check --data, or name a server with --redis-url",
            os.EX_NOINPUT,
        )
    try:
        async with _private(data, directory, alone) as url:
            yield url
    except PrivateRedisFailed as error:
        raise CannotServe(str(error), os.EX_UNAVAILABLE) from error


@asynccontextmanager
async def _private(data: Path, directory: Path, alone: bool) -> AsyncIterator[str]:
    with ExitStack() as exit:
        try:
            exit.enter_context(data_directory(data))
        except CannotServe:
            private = PrivateRedis(directory)
            if alone or not private.listens:
                raise
            yield private.url
            return
        async with PrivateRedis(directory) as private:
            yield private.url
