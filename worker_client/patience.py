"""`patiently`: call the tracker until it is there again."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from laion_protocol import RateLimited, StorageFull, TrackerError, Unavailable
from laion_protocol.backoff import full_jitter
from laion_protocol.client import NotATracker

from .progress import Report

_T = TypeVar("_T")


async def patiently(call: Callable[[], Awaitable[_T]], report: Report) -> _T:
    """What the call returns, however long the tracker is away or full; cancel it to give up.

    For a tracker that has answered before: when something else answers at its address now, such
    as a proxy's page or a hotel's, it is away. Every other refusal is raised.
    """
    told = ""
    waits = full_jitter(base=2.0, cap=60.0)
    while True:
        try:
            return await call()
        except (Unavailable, StorageFull, RateLimited, NotATracker) as error:
            if str(error) != told:
                report.say(f"waiting for the tracker: {error}")
                told = str(error)
            wait = next(waits)
            await asyncio.sleep(wait + (retry_after(error) or 0))


def retry_after(error: TrackerError | NotATracker) -> float | None:
    """The seconds that the tracker itself asked for, if it was the one who answered."""
    return error.retry_after if isinstance(error, TrackerError) else None
