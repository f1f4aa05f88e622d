"""`Turnstile`: so many at once, some more in a queue, and a kind word for the rest."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from laion_protocol import RateLimited


class Turnstile:
    """Keeps one kind of call from taking the process, and its connections to Redis, from others.

    First come, first served. Whoever would wait for too long is told when to come again instead:
    a caller that gives up by itself asks at once, and makes it worse.
    """

    def __init__(self, *, at_once: int, patience: float, most_waiting: int) -> None:
        """Let `at_once` through; the others wait for up to `patience` seconds, not more than
        `most_waiting` of them."""
        self._turns = asyncio.Semaphore(at_once)
        self._patience = patience
        self._most_waiting = most_waiting
        self.waiting = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Hold one of the turns.

        Raises:
            RateLimited: there was none in time; with a time to come again.
        """
        if self._turns.locked():
            await self._wait()
        else:
            await self._turns.acquire()  # does not wait
        try:
            yield
        finally:
            self._turns.release()

    async def _wait(self) -> None:
        if self.waiting >= self._most_waiting:
            raise self._busy()
        self.waiting += 1
        try:
            async with asyncio.timeout(self._patience):
                await self._turns.acquire()
        except TimeoutError:
            raise self._busy() from None
        finally:
            self.waiting -= 1

    def _busy(self) -> RateLimited:
        # a wide spread: those who were turned away together must not come back together
        seconds = self._patience * random.uniform(1, 4)
        return RateLimited(
            f"{self.waiting} others are waiting for jobs at this moment; ask again in "
            f"{seconds:.0f} s",
            retry_after=seconds,
        )
