"""`Quota`: how much of the bytes that a store may hold is left."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from laion_protocol import Unavailable

log = logging.getLogger(__name__)

_EVERY: Final = 600.0
#: A large store takes a while to count; the next time comes after so many times as long.
_REST: Final = 10
_WAIT: Final = 2.0


class Quota:
    """By a count that is some minutes old: it reads the names of all files.

    Args:
        most: bytes; 0 sets no bound.
        count: what lies there now.
    """

    def __init__(self, most: int, count: Callable[[], Awaitable[int]]) -> None:
        self._most = most
        self._count = count
        self._used: int | None = None
        self._next = 0.0  # of `time.monotonic()`
        self._counting: asyncio.Task[None] | None = None

    async def left(self) -> int | None:
        """Bytes; None if there is no bound, or nobody could count yet."""
        if not self._most:
            return None
        if self._counting is None and time.monotonic() >= self._next:
            self._counting = asyncio.create_task(self._measure())
        if self._used is None and self._counting is not None:
            await asyncio.wait({self._counting}, timeout=_WAIT)
        return None if self._used is None else max(0, self._most - self._used)

    async def _measure(self) -> None:
        began = time.monotonic()
        try:
            self._used = await self._count()
        except (Unavailable, OSError) as error:
            log.warning("how full the store is cannot be told: %s", error)
        finally:
            now = time.monotonic()
            self._next = now + max(_EVERY, _REST * (now - began))
            self._counting = None
