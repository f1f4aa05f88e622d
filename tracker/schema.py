"""`ensure_schema`: Redis's keys are laid out as this version of the tracker has them.

`{store}:schema` holds a number. Each change of the layout that old data has to follow is a
migration here, done once, by whichever tracker starts first. A migration may be cut off and is then
done again, so each is safe to repeat. Trackers of the version before must be stopped first: they
know nothing of the number, or only that theirs is too small.

    1   what the first version wrote, which had no number
    2   the index of leases by account, `held:A`
"""

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from .place import CannotServe
from .queue import keys
from .queue.scripts import Script

log = logging.getLogger(__name__)

SCHEMA_KEY: Final = "{store}:schema"
#: In place of a number, as long as a backup is being restored.
RESTORING: Final = "restoring"
_MIGRATING: Final = "{store}:migrating"
_LOCKED_MS: Final = 30_000
_SLICE: Final = 500
_FINISH: Final = Script("finish_migration", __package__)
_HELD_BY_ACCOUNT: Final = Script("index_held_by_account", "tracker.queue")


async def _to_2(redis: Redis, alive: Callable[[], Awaitable[None]]) -> None:
    """Leases of version 1 get into the index by account."""
    for crawl in sorted(map(str, await redis.smembers(keys.CRAWLS))):
        cursor = 0
        while True:
            answer: Any = await _HELD_BY_ACCOUNT(redis, keys.meta(crawl), cursor, _SLICE)
            await alive()
            if answer[0] == "no_crawl" or not (cursor := int(answer[1])):
                break


#: from the version before to the one named
_MIGRATIONS: Final = {2: _to_2}
CURRENT: Final = max(_MIGRATIONS)


async def ensure_schema(redis: Redis, *, patience: float = 300.0) -> None:
    """Migrate what is there, or note the version of what is empty.

    Of several trackers that start at once, one migrates and the others wait for it.

    Raises:
        CannotServe: the data is a newer version's, or half restored; or another tracker has been
            migrating it for longer than `patience` seconds.
    """
    me, end = secrets.token_hex(8), time.monotonic() + patience
    try:
        while (found := await _version(redis)) < CURRENT:
            if await redis.set(_MIGRATING, me, nx=True, px=_LOCKED_MS):
                await _migrate(redis, me)
            elif time.monotonic() > end:
                raise CannotServe(
                    "another tracker is bringing the data in Redis up to date, and is not through; "
                    "look at its log, then start again",
                    os.EX_TEMPFAIL,
                )
            else:
                await asyncio.sleep(0.1)
    except RedisError as error:
        raise CannotServe(f"Redis refuses to write: {error}", os.EX_UNAVAILABLE) from error
    if found > CURRENT:
        raise CannotServe(
            f"the data in Redis is of version {found}, and this tracker knows {CURRENT}; start the "
            "newer tracker that wrote it",
            os.EX_CONFIG,
        )


async def _version(redis: Redis) -> int:
    noted = await redis.get(SCHEMA_KEY)
    if noted is None:
        used = await redis.exists(keys.CRAWLS) or await redis.exists("{accounts}:names")
        if used:
            return 1
        await redis.set(SCHEMA_KEY, CURRENT, nx=True)
        return await _version(redis)
    if noted == RESTORING:
        raise CannotServe(
            "a backup was being restored into this Redis, and was cut off; empty it, then restore "
            "again",
            os.EX_CONFIG,
        )
    return int(noted)


async def _migrate(redis: Redis, me: str) -> None:
    async def alive() -> None:
        # Lost after 30 s of silence: then another tracker migrates too, which does no harm.
        if await redis.get(_MIGRATING) == me:
            await redis.pexpire(_MIGRATING, _LOCKED_MS)

    before = await _version(redis)
    for number in range(before + 1, CURRENT + 1):
        log.info("bringing the data in Redis from version %s to %s", number - 1, number)
        await _MIGRATIONS[number](redis, alive)
        await _FINISH(redis, SCHEMA_KEY, number)
    await redis.delete(_MIGRATING)
