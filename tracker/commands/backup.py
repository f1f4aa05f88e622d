"""`tracker backup` and `tracker restore`."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from tracker.place import CannotServe

from .session import INPUT, Failed, data_option

_T = TypeVar("_T")


def _named(_context: click.Context, _param: click.Parameter, file: Path) -> Path:
    if not file.name:  # click takes an empty one for this directory
        raise click.BadParameter("the name is empty; name the file to write")
    return file


redis_option = click.option(
    "--redis-url", default="", envvar="LAION_TRACKER_REDIS_URL", show_envvar=True,
    help="As of `serve`; without one, the Redis in the data directory.",
)  # fmt: skip


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), callback=_named)
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@data_option
@redis_option
def backup(file: Path, force: bool, data: Path, redis_url: str) -> None:
    """Write all that Redis knows to FILE, while the tracker goes on working.

    Shards are not in it: copy the store after this, so that each accepted job has its shard. Model
    files, the dedupe files and the admin's token lie in the data directory: copy that too.
    """
    from tracker.backup import back_up

    async def work(redis: Any) -> int:
        return await back_up(redis, file, replace=force)

    try:
        count = with_redis(data, redis_url, work)
    finally:
        # Redis leaves the copy that it made; beside its own file, it is of no use.
        (data / "redis" / "snapshot.rdb").unlink(missing_ok=True)
    click.echo(f"{file} holds {count} keys, {file.stat().st_size} bytes")


@click.command()
@click.argument("file", type=INPUT)
@data_option
@redis_option
def restore(file: Path, data: Path, redis_url: str) -> None:
    """Fill an empty Redis with a backup; start the tracker after that.

    Put the copies of the store, the model files and the dedupe files into the data directory too.
    """
    from tracker.backup import restore as restore_file
    from tracker.place import kept_once
    from tracker.store_id import STORE_KEY

    async def work(redis: Any) -> tuple[int, str | None]:
        return await restore_file(redis, file), await redis.get(STORE_KEY)

    count, store = with_redis(data, redis_url, work, alone=True)
    if store is not None:  # shards that are copied here later are those of these jobs
        data.mkdir(parents=True, exist_ok=True)
        kept_once(data / "store-id", store)
    click.echo(f"{count} lines of {file} are restored; start the tracker now")


def with_redis(
    data: Path, redis_url: str, work: Callable[[Any], Awaitable[_T]], *, alone: bool = False
) -> _T:
    """What `work` makes of the tracker's Redis.

    Raises:
        Failed: with one sentence.
    """
    from redis.exceptions import RedisError

    from tracker.connection import connect
    from tracker.reach_redis import reach_redis
    from tracker.redis_check import check_redis

    async def run(data: Path) -> _T:
        async with (
            reach_redis(data, redis_url, alone=alone) as url,
            connect(url, encoding_errors="surrogateescape") as redis,
        ):
            await check_redis(redis, url)
            return await work(redis)

    try:
        return asyncio.run(run(data.resolve()))
    except CannotServe as error:
        raise Failed(str(error), error.status) from error
    except RedisError as error:
        raise Failed(f"Redis does not answer: {error}", os.EX_UNAVAILABLE) from error
