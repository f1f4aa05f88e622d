"""`check_redis`: is the server that the operator named fit for a tracker?"""

import logging
import os
from typing import Any, Final
from urllib.parse import urlsplit

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import AuthenticationError, RedisError

from .exit_status import USAGE
from .memory import RedisMemory, free_memory, shortages
from .place import CannotServe
from .redis_url import parse_redis_url

log = logging.getLogger(__name__)

_OLDEST_REDIS: Final = (6, 2)


def check_url(url: str) -> None:
    """The operator's words make a Redis URL.

    Raises:
        CannotServe: they do not. The message repeats none of them: a password may be among them.
    """
    try:
        parse_redis_url(url)
    except ValueError:
        raise CannotServe(
            "--redis-url is no Redis URL; it looks like redis://:PASSWORD@HOST:6379/0, rediss://…, "
            "unix://…, redis+sentinel://HOST:26379,HOST:26379/NAME or "
            "redis+cluster://HOST:6379,HOST:6379, with the password percent-encoded",
            USAGE,
        ) from None  # the cause repeats parts of the URL


async def check_redis(redis: Redis, url: str) -> None:
    """Redis answers and is new enough; a warning is logged if it may lose what it is given.

    Raises:
        CannotServe: it does not, or is not.
    """
    try:
        infos = await _infos(redis)
    except AuthenticationError as error:
        raise CannotServe(
            f"Redis at {masked(url)} refuses the password; check --redis-url", os.EX_NOPERM
        ) from error
    except (RedisError, OSError) as error:
        raise CannotServe(
            f"Redis at {masked(url)} cannot be reached; start it, or check --redis-url",
            os.EX_UNAVAILABLE,
        ) from error
    for info in infos:
        version = str(info.get("redis_version", "7.0"))
        if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST_REDIS:
            raise CannotServe(
                f"Redis at {masked(url)} is version {version}; the tracker needs 6.2 or later",
                os.EX_UNAVAILABLE,
            )
    for sentence in _weaknesses(redis, infos):
        log.warning("%s", sentence)


async def weaknesses(redis: Redis) -> tuple[str, ...]:
    """Why this Redis may lose what it is given; a sentence for each reason.

    Raises:
        RedisError: it does not answer.
    """
    return _weaknesses(redis, await _infos(redis))


async def redis_memory(redis: Redis) -> RedisMemory:
    """What Redis holds and may hold.

    Raises:
        RedisError: it does not answer.
    """
    return RedisMemory.of(await _infos(redis, "memory"))


def _weaknesses(redis: Redis, infos: list[dict[str, Any]]) -> tuple[str, ...]:
    found = shortages(redis, infos, free_memory())
    if any(info.get("maxmemory_policy", "noeviction") != "noeviction" for info in infos):
        found.append("Redis evicts keys when it is full: jobs can be lost; set noeviction")
    if not all(info.get("aof_enabled", 1) for info in infos):
        found.append("Redis writes no append-only file: a crash of it loses accepted work")
    if any(info.get("aof_last_write_status", "ok") != "ok" for info in infos):
        found.append("Redis cannot write its append-only file: look at its disk")
    return tuple(found)


async def _infos(redis: Redis, *section: str) -> list[dict[str, Any]]:
    """`INFO` of the server, or of each master of a cluster."""
    if isinstance(redis, RedisCluster):
        answers = await redis.info(*section, target_nodes=RedisCluster.PRIMARIES)
        # one node's answer comes as it is
        one = any(not isinstance(value, dict) for value in answers.values())
        return [answers] if one else list(answers.values())
    return [await redis.info(*section)]


def masked(url: str) -> str:
    """A URL without the password that it may hold."""
    parts = urlsplit(url)
    if parts.password is None:
        return url.partition("?")[0]
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{parts.username or ''}:***@{host}", query="").geturl()
