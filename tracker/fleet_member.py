"""One process of a `Fleet`: `python -m tracker.fleet_member FD`, started by its parent only.

FD is the socket. The settings come on standard input, which then stays open for as long as the
parent lives. A line on standard output says that requests are answered.
"""

import asyncio
import contextlib
import logging
import os
import pickle
import socket
import sys
import threading
from typing import Final

import uvloop

from .fleet import READY
from .one_process import run_process
from .place import CannotServe
from .settings import Settings

LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def _wait_for_parent(loop: asyncio.AbstractEventLoop, gone: asyncio.Event) -> None:
    # Not by sys.stdin: Python ends badly while a thread waits in it.
    while os.read(0, 4096):  # until the pipe closes
        pass
    with contextlib.suppress(RuntimeError):  # the loop is over
        loop.call_soon_threadsafe(gone.set)


async def _main(settings: Settings, listener: socket.socket) -> None:
    def ready() -> None:
        sys.stdout.buffer.write(READY)
        sys.stdout.buffer.flush()

    # A thread that reads cannot be cancelled; a daemon of our own does not hold up the end.
    loop, gone = asyncio.get_running_loop(), asyncio.Event()
    threading.Thread(target=_wait_for_parent, args=(loop, gone), daemon=True).start()
    await run_process(settings, listener, gone.wait(), ready=ready)


def main() -> None:
    """Serve until SIGTERM, or until the parent is gone."""
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    settings: Settings = pickle.load(sys.stdin.buffer)
    listener = socket.socket(fileno=int(sys.argv[1]))
    try:
        uvloop.run(_main(settings, listener))
    except CannotServe as error:
        sys.exit(error.status)


if __name__ == "__main__":
    main()
