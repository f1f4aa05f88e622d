"""`run_process`: uvicorn with the tracker's app on a socket that listens already."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import uvicorn

from .place import CannotServe
from .settings import Settings
from .web_server import web_config

log = logging.getLogger(__name__)

#: Seconds that running requests get to finish.
GRACE: Final = 10


class _Server(uvicorn.Server):
    """uvicorn's own way ends the process by the signal, before the private Redis is stopped."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        with on_signal(lambda number: self.handle_exit(number, None)):
            yield


@contextlib.contextmanager
def on_signal(stop: Callable[[signal.Signals], None]) -> Iterator[None]:
    """SIGINT and SIGTERM call `stop` for as long as this lasts."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, stop, number)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


async def run_process(
    settings: Settings,
    listener: socket.socket,
    end: Awaitable[object] | None = None,
    *,
    ready: Callable[[], None] | None = None,
) -> None:
    """Serve until SIGTERM, SIGINT, or `end` is done; `ready` is called once requests are answered.

    Raises:
        CannotServe: the app did not start.
    """
    server = _Server(web_config(settings, timeout_graceful_shutdown=GRACE))
    serving = asyncio.create_task(_serve(server, listener))
    announcing = asyncio.create_task(_announce(server, ready))
    ending = {asyncio.ensure_future(end)} if end is not None else set()
    await asyncio.wait({serving} | ending, return_when="FIRST_COMPLETED")
    server.should_exit = True
    await serving
    announcing.cancel()
    if not server.started:
        raise CannotServe("the tracker did not start; its log says why", os.EX_SOFTWARE)


async def _serve(server: uvicorn.Server, listener: socket.socket) -> None:
    try:
        await server.serve(sockets=[listener])
    except SystemExit as error:  # how uvicorn ends when the app does not start
        log.error("the web server ended itself (status %s)", error.code)
        server.started = False


async def _announce(server: uvicorn.Server, ready: Callable[[], None] | None) -> None:
    while not server.started:  # noqa: ASYNC110 — uvicorn has no event for it
        await asyncio.sleep(0.02)
    _settle_heap()
    if ready is not None:
        ready()


def _settle_heap() -> None:
    """What the start has made stays, so the collector need not look through it again and again.

    A twelfth of a heartbeat's time went into that. A request leaves few cycles behind: 20,000 new
    objects before each look are a few megabytes.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
