"""`Child`: a process of the demo, with a log file, that is always ended."""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

#: a worker finishes what it is at when asked to end; the demo has seen enough by then
PATIENCE_SECONDS = 5.0


class ChildFailed(Exception):
    """A process of the demo ended, or said no; the message says which, and where its log is."""


class Child:
    """One process between `__aenter__` and `__aexit__`. It may be killed and started again.

    Its output goes to `log`, its standard input is closed. It leads a process group of its own, so
    that Ctrl-C reaches it only through us, and so that what it started ends with it.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self.log = log
        self._command = tuple(command)
        self._process: asyncio.subprocess.Process | None = None
        self._groups: list[int] = []
        self._killed = False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def running(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it, for the first time or again."""
        self._killed = False
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._groups.append(self._process.pid)

    async def kill(self) -> None:
        """End it as a power cut would: at once, without a word. Its own children are spared."""
        self._killed = True
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def stop(self) -> None:
        """End it politely, then firmly, with everything that it started; safe to repeat."""
        try:
            if self._process is not None and self._process.returncode is None:
                self._process.terminate()
                with suppress(TimeoutError):
                    async with asyncio.timeout(PATIENCE_SECONDS):
                        await self._process.wait()
        finally:
            while self._groups:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._groups.pop(), signal.SIGKILL)
            if self._process is not None:
                await self._process.wait()

    def check(self) -> None:
        """Raises `ChildFailed` when the process has ended, and not by `kill`."""
        if not self.running and not self._killed:
            code = self._process.returncode if self._process is not None else None
            raise ChildFailed(f"the {self.name} ended by itself (exit status {code})")

    def tail(self, lines: int = 25) -> str:
        """The end of its log."""
        try:
            text = self.log.read_bytes()[-64_000:].decode("utf-8", "replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])
