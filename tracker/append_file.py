"""`AppendFile`: Redis's append-only file, written anew after each start of Redis.

A Redis that dies while it writes down what a script changed (killed, or its power cut) drops the
half at its next start, but leaves it in the file. At the start after that one, it takes the half
for the beginning of the next script: a job is then partly in one state and partly in another, or
counted twice. A file that was written anew has no such half. Redis 6.2 and 7 do this; Valkey
mended it in 2026 (pull request 4342).
"""

import asyncio
import logging
import time
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from .cancelled import is_cancelled
from .redis_cluster import Cluster

log = logging.getLogger(__name__)

#: Seconds: the half must be gone before Redis dies once more. Asking costs Redis nothing to speak
#: of.
_EVERY: Final = 1.0
_NEVER: Final = -1
#: Seconds after a rewrite that failed: most want room on the disk or memory, and each try takes
#: some of both.
_PAUSE: Final = 60.0


class AppendFile:
    """Safe to run in any number of processes; use it as a task beside the app."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._refused = False
        self._again: dict[Redis, float] = {}  #: when to try again where it failed

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while not is_cancelled():
            try:
                await self.look()
            except ResponseError as error:
                if not self._refused:
                    log.warning(
                        "Redis does not write its append-only file anew for the tracker (%s); run "
                        "BGREWRITEAOF there after each of its starts",
                        error,
                    )
                self._refused = True
            except (RedisError, OSError):
                pass  # it is away; who reaps says so
            await asyncio.sleep(_EVERY)

    async def look(self) -> None:
        """Have it written anew where that was not done since Redis, or a master, was started; a
        minute later once more where it failed.

        Raises:
            ResponseError: it may not be asked for that.
            RedisError, OSError: it, or a master, does not answer; the other masters were asked.
        """
        redis = self._redis
        masters = await redis.masters() if isinstance(redis, Cluster) else [redis]
        looks = (self._look(master) for master in masters)
        for failure in await asyncio.gather(*looks, return_exceptions=True):
            if failure is not None:
                raise failure

    async def _look(self, redis: Redis) -> None:
        told = await redis.info("persistence")
        under_way = told.get("aof_rewrite_in_progress") or told.get("aof_rewrite_scheduled")
        if not told.get("aof_enabled") or told.get("loading") or under_way:
            return
        # it tells how long the last one took also if that one failed
        if told.get("aof_last_bgrewrite_status", "ok") == "ok":
            self._again.pop(redis, None)
            due = told.get("aof_last_rewrite_time_sec", _NEVER) == _NEVER
        else:
            due = self._pause_is_over(redis)
        if due:
            await redis.bgrewriteaof()

    def _pause_is_over(self, redis: Redis) -> bool:
        if redis not in self._again:
            log.warning(
                "Redis could not write its append-only file anew; its log says why; the tracker "
                "asks again in %.0f s",
                _PAUSE,
            )
            self._again[redis] = time.monotonic() + _PAUSE
        if time.monotonic() < self._again[redis]:
            return False
        del self._again[redis]  # should this one fail too, that is another pause
        return True
