"""`patiently`: call the tracker until it is there again."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from laion_protocol import StorageFull, Unavailable
from laion_protocol.backoff import full_jitter

from .progress import Report

_T = TypeVar("_T")


async def patiently(call: Callable[[], Awaitable[_T]], report: Report) -> _T:
    """What the call returns, however long the tracker is away or full; cancel it to give up.

    Every other refusal is raised.
    """
    told = ""
    waits = full_jitter(base=2.0, cap=60.0)
    while True:
        try:
            return await call()
        except (Unavailable, StorageFull) as error:
            if str(error) != told:
                report.say(f"waiting for the tracker: {error}")
                told = str(error)
            wait = next(waits)
            await asyncio.sleep(wait if error.retry_after is None else error.retry_after + wait)
