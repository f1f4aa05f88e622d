"""`claimed`: a shard stays one verifier's own for as long as its check takes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from redis.exceptions import RedisError

from laion_protocol import LeaseLost, NotFound

from .cancelled import is_cancelled
from .queue import JobQueue, Submission

#: Of a claim's time, after which it is kept for as long again: two tries may fail.
_KEPT_AFTER = 1 / 3


@asynccontextmanager
async def claimed(
    queue: JobQueue, submission: Submission, visibility: timedelta
) -> AsyncIterator[None]:
    """No other verifier gets the shard while the block runs, slow as its store and its check may
    be. While Redis is away it goes on: `accept` and `reject` ask whose the claim is.

    Raises:
        LeaseLost: the block was cut off: the shard is another verifier's by now, or was judged or
            taken away.
    """
    lost: LeaseLost | NotFound | None = None

    async def keep(block: asyncio.Timeout) -> None:
        nonlocal lost
        while not is_cancelled():
            await asyncio.sleep(visibility.total_seconds() * _KEPT_AFTER)
            try:
                await queue.keep_claim(submission, visibility)
            except (LeaseLost, NotFound) as error:
                lost = error
                block.reschedule(asyncio.get_running_loop().time())
                return
            except (RedisError, OSError):
                continue

    try:
        async with asyncio.timeout(None) as block:
            keeper = asyncio.create_task(keep(block))
            try:
                yield
            finally:
                keeper.cancel()
                await asyncio.wait({keeper})
    except TimeoutError:
        if lost is None:
            raise
        raise LeaseLost(str(lost)) from lost
