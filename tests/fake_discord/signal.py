"""Tells waiting tests that something happened, so that none has to sleep."""

import asyncio
from collections.abc import Callable


class Signal:
    """A condition that everything in the fake notifies."""

    def __init__(self) -> None:
        self._condition = asyncio.Condition()

    async def notify(self) -> None:
        """Something changed."""
        async with self._condition:
            self._condition.notify_all()

    async def until(self, predicate: Callable[[], object], timeout: float = 30) -> None:
        """Return when the predicate holds; TimeoutError when it does not within `timeout` s."""
        async with asyncio.timeout(timeout), self._condition:
            await self._condition.wait_for(lambda: bool(predicate()))
