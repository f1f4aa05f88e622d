"""`Troubles`: when the tracker itself failed often, so that nobody else pays for it.

`{project}:troubles` is a zset of minutes since 1970, by Redis's clock, of the last day: those in
which a process of the tracker answered too many calls with a fault of its own.
"""

import asyncio
import time
from collections import deque
from datetime import datetime, timedelta
from typing import Any, Final

from redis.asyncio import Redis

_KEY: Final = "{project}:troubles"
_MINUTE: Final = timedelta(minutes=1)
_KEPT: Final = 24 * 60  # minutes
#: How old what is known may be, seconds.
_FRESH: Final = 5.0
#: A process's answers are looked at in so many seconds at a time.
WINDOW: Final = 10.0
#: Fewer faults are chance; and one caller's broken requests are not the tracker's trouble.
_LEAST_FAULTS: Final = 5
_LEAST_SHARE: Final = 0.05

#: ARGV: how long ago each trouble was, ms. Times are Redis's; the process only knows ages.
_NOTE: Final = f"""
local time = redis.call('TIME')
local now = time[1] / 60
for _, age in ipairs(ARGV) do
  local minute = math.floor(now - age / 60000)
  redis.call('ZADD', KEYS[1], minute, minute)
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - {_KEPT})
redis.call('EXPIRE', KEYS[1], {_KEPT} * 60)
return 1
"""


class Troubles:
    """Counts this process's answers, and knows the troubles of all processes."""

    def __init__(self, redis: Redis) -> None:
        """Use `redis`, made with `decode_responses=True`; the caller closes it."""
        self._redis: Any = redis
        self._answers = self._faults = 0
        # what could not be told yet: Redis itself may be the trouble
        self._unsaid: deque[float] = deque(maxlen=_KEPT)
        self._minutes: frozenset[int] = frozenset()
        self._read_at = -_FRESH
        self._lock = asyncio.Lock()

    def answered(self, *, fault: bool) -> None:
        """One answer left this process; `fault`: a 5xx that says that the tracker failed."""
        self._answers += 1
        self._faults += fault

    async def close_window(self) -> bool:
        """Judge the answers since the last call, and tell the others; True if there was trouble.

        Call it every `WINDOW` seconds.
        """
        answers, faults = self._answers, self._faults
        self._answers = self._faults = 0
        trouble = faults >= _LEAST_FAULTS and faults >= answers * _LEAST_SHARE
        if trouble:
            now = time.monotonic()
            self._unsaid += (now - WINDOW, now)
        if self._unsaid:
            said = list(self._unsaid)
            now = time.monotonic()
            ages = [round((now - at) * 1000) for at in said]
            await self._redis.eval(_NOTE, 1, _KEY, *ages)
            for _ in said:
                self._unsaid.popleft()
            self._read_at = -_FRESH
        return trouble

    async def minutes(self) -> frozenset[int]:
        """The minutes since 1970 that were bad."""
        if time.monotonic() - self._read_at >= _FRESH:
            async with self._lock:
                if time.monotonic() - self._read_at >= _FRESH:
                    found = await self._redis.zrange(_KEY, 0, -1)
                    self._minutes = frozenset(map(int, found))
                    self._read_at = time.monotonic()
        return self._minutes


def in_trouble(minutes: frozenset[int], at: datetime, before: timedelta) -> bool:
    """Whether any of `minutes` was at that time, or began less than `before` earlier.

    What is lost because of trouble is lost a while after it: a lease outlives its heartbeats.
    """
    last = int(at.timestamp()) // 60
    first = last - before // _MINUTE - 1
    return any(minute in minutes for minute in range(first, last + 1))
