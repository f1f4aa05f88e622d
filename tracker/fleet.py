"""`Fleet`: several tracker processes on one port and one Redis.

All are alike, and none is the first: each accepts from the socket that the parent opened, each
reaps and sweeps, and every decision is a script in Redis. The parent serves nothing. It starts
another process in the place of one that ended, and stops all when it is told to.
"""

import asyncio
import contextlib
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from .one_process import GRACE, on_signal
from .place import CannotServe
from .settings import Settings

log = logging.getLogger(__name__)

#: What a process says on its standard output when it answers requests.
READY: Final = b"ready\n"
_ROOT: Final = Path(__file__).parents[1]
#: A process that lived so long was well, and is replaced at once.
_WELL: Final = 10.0
_MAX_WAIT: Final = 30.0
_STOP_SECONDS: Final = GRACE + 10.0


class Fleet:
    """`workers` processes with these settings, on this socket; `run` keeps them there."""

    def __init__(self, settings: Settings, listener: socket.socket, workers: int) -> None:
        self._settings = settings
        self._listener = listener
        self._workers = workers
        self._stopping = asyncio.Event()
        #: One of them has answered requests, so what ends another is no fault of the settings.
        self._served = False

    async def run(self, end: "asyncio.Task[int] | None" = None) -> None:
        """Serve until SIGTERM, SIGINT, or `end` is done.

        Raises:
            CannotServe: the first processes did not start.
        """
        with on_signal(lambda _: self._stopping.set()):
            async with asyncio.TaskGroup() as tasks:
                places = {tasks.create_task(self._place(n)) for n in range(self._workers)}
                told = tasks.create_task(self._stopping.wait())
                await asyncio.wait(
                    {told, *places} | ({end} if end else set()), return_when="FIRST_COMPLETED"
                )
                self._stopping.set()
        failed = [task.result() for task in places if task.result()]
        if failed:
            raise CannotServe("the tracker did not start; its log says why", failed[0])

    async def _place(self, number: int) -> int:
        """Keep one process going; 0, or the status of one that ended before any had served."""
        wait = 1.0
        while not self._stopping.is_set():
            started = time.monotonic()
            status = await self._one(number)
            if self._stopping.is_set():
                break
            if not self._served:
                return status if status >= os.EX_DATAERR else os.EX_SOFTWARE
            wait = 0.0 if time.monotonic() - started > _WELL else min(_MAX_WAIT, 2 * wait or 1.0)
            log.error(
                "process %s of %s ended (status %s); another one starts in %.0f s",
                number + 1, self._workers, status, wait,
            )  # fmt: skip
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait or 0.01)
        return 0

    async def _one(self, number: int) -> int:
        """One process from start to end; its status."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            f"{__package__}.fleet_member",
            str(self._listener.fileno()),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_ROOT,
            pass_fds=(self._listener.fileno(),),
            start_new_session=True,  # Ctrl-C is for the parent, which then stops all
        )
        assert process.stdin is not None
        assert process.stdout is not None
        # Not on the command line, which every user of the machine can read: a password may be in
        # it. The pipe stays open: when it closes, the parent is gone, and so goes the process.
        # RuntimeError is uvloop's word for a pipe whose reader has ended already.
        with contextlib.suppress(OSError, RuntimeError):
            process.stdin.write(pickle.dumps(self._share(number)))
            await process.stdin.drain()
        ended = asyncio.create_task(process.wait())
        ready = asyncio.create_task(self._note_ready(process.stdout))
        told = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({ended, told}, return_when="FIRST_COMPLETED")
            await _stop(process)
            await ready  # what it said before it ended
            return await ended
        finally:
            for task in (ended, ready, told):
                task.cancel()
            process.stdin.close()
            if process.returncode is None:  # we are cancelled
                process.kill()

    async def _note_ready(self, output: asyncio.StreamReader) -> None:
        self._served = await output.readline() == READY or self._served

    def _share(self, number: int) -> Settings:
        """The settings of one process; the checks are shared out among all."""
        each, more = divmod(self._settings.checkers, self._workers)
        return replace(self._settings, checkers=each + (number < more))


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        log.error("a process did not stop within %.0f s; killing it", _STOP_SECONDS)
        process.kill()
        await process.wait()
