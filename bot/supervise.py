"""Keeps a loop running: what should never end is started again when it does."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from laion_protocol.backoff import full_jitter

log = logging.getLogger(__name__)


async def keep_running(
    name: str, loop: Callable[[], Awaitable[None]], *, base: float = 1.0, cap: float = 60.0
) -> None:
    """Run `loop` for ever; after a fault, log it and start again with back-off (seconds)."""
    waits = full_jitter(base, cap)
    while True:
        began = asyncio.get_running_loop().time()
        try:
            await loop()
        except Exception:  # the last handler: whatever it was, the loop must go on
            log.exception("the %s loop broke; it will be started again", name)
        else:
            log.error("the %s loop ended, which it never should; it will be started again", name)
        if asyncio.get_running_loop().time() - began > cap:
            waits = full_jitter(base, cap)
        await asyncio.sleep(next(waits))
