"""`Meter`: what the tracker counts about itself, over all its processes.

A scrape reaches any one process of many, so each adds what it counted to one hash in Redis:
`{metrics}:totals`, where a field is a JSON list of the metric's name and its labels' values.
Counting is a dictionary's increment; nothing is asked of Redis for it.
"""

import asyncio
import json
import logging
from bisect import bisect_left
from collections import Counter
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from .cancelled import is_cancelled
from .troubles import WINDOW, Troubles

log = logging.getLogger(__name__)

_TOTALS: Final = "{metrics}:totals"
#: Seconds; the last one has no end.
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: The store has no room, which is no fault.
_INSUFFICIENT_STORAGE: Final = 507

Key = tuple[str, ...]  #: a metric's name, and its labels' values


class Meter:
    """Of one process; run it as a task beside the app."""

    def __init__(self, redis: Redis, troubles: Troubles) -> None:
        """Use `redis`, made with `decode_responses=True`; the caller closes it."""
        self._redis: Any = redis
        self._troubles = troubles
        self._counts: Counter[Key] = Counter()

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """An answer began to leave, `seconds` after its request's head was there."""
        self._counts["requests", method, route, str(status)] += 1
        call = f"{method} {route}"
        self._counts["answer_bucket", call, str(bisect_left(BUCKETS, seconds))] += 1
        self._counts["answer_microseconds", call] += round(seconds * 1e6)
        self._troubles.answered(fault=status >= 500 and status != _INSUFFICIENT_STORAGE)

    def count(self, name: str, *labels: str, amount: int = 1) -> None:
        """Something else happened; `metrics` must know the name."""
        self._counts[name, *labels] += amount

    async def run(self) -> None:
        """Every few seconds, tell Redis what was counted, until cancelled."""
        while not is_cancelled():
            await asyncio.sleep(WINDOW)
            try:
                if await self._troubles.close_window():
                    log.warning(
                        "many calls failed by a fault of the tracker; no worker pays for it"
                    )
                await self.flush()
            except RedisError as error:
                log.info("what was counted is told later: %s", type(error).__name__)

    async def flush(self) -> None:
        """Add what was counted to the totals. When Redis does not answer it is kept."""
        counts, self._counts = self._counts, Counter()
        if not counts:
            return
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for key, amount in counts.items():
                    pipe.hincrby(_TOTALS, json.dumps(key), amount)
                await pipe.execute()
        except BaseException:
            self._counts.update(counts)  # some may be told twice: better than never
            raise

    async def totals(self) -> dict[Key, int]:
        """Of all processes; of the others, up to a few seconds old."""
        await self.flush()
        found = await self._redis.hgetall(_TOTALS)
        return {tuple(json.loads(field)): int(total) for field, total in found.items()}
