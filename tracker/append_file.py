"""`AppendFile`: Redis's append-only file, written anew after each start of Redis.

A Redis that dies while it writes down what a script changed (killed, or its power cut) drops the
half at its next start, but leaves it in the file. At the start after that one, it takes the half
for the beginning of the next script: a job is then partly in one state and partly in another, or
counted twice. A file that was written anew has no such half. Redis 6.2 and 7 do this; Valkey
mended it in 2026 (pull request 4342).
"""

import asyncio
import logging
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from .redis_cluster import Cluster

log = logging.getLogger(__name__)

#: Seconds: the half must be gone before Redis dies once more. Asking costs Redis nothing to speak
#: of.
_EVERY: Final = 1.0
_NEVER: Final = -1


class AppendFile:
    """Safe to run in any number of processes; use it as a task beside the app."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._refused = False

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        task = asyncio.current_task()
        assert task is not None
        while not task.cancelling():  # as in `verifier`: redis-py may swallow the request to stop
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
        """Have it written anew where that was not done since Redis, or a master, was started.

        Raises:
            ResponseError: it may not be asked for that.
            RedisError, OSError: it does not answer.
        """
        redis = self._redis
        for master in await redis.masters() if isinstance(redis, Cluster) else [redis]:
            told = await master.info("persistence")
            under_way = told.get("aof_rewrite_in_progress") or told.get("aof_rewrite_scheduled")
            written = told.get("aof_last_rewrite_time_sec", _NEVER) != _NEVER
            if told.get("aof_enabled") and not (told.get("loading") or under_way or written):
                await master.bgrewriteaof()
