"""A TCP line that fails in the ways that real ones do."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(eq=False)
class _Call:
    """One connection: the caller's end, and the one to the server."""

    caller: asyncio.StreamWriter
    server: asyncio.StreamWriter
    is_torn: bool = False

    def reset(self) -> None:
        for writer in (self.caller, self.server):
            writer.transport.abort()


class Line:
    """Passes on what comes at its port, to a port of this machine, as long as nobody breaks it."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._calls: set[_Call] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._refuses = self._swallows = False
        self.faults: Counter[str] = Counter()

    async def start(self) -> int:
        """Listens; the port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def ways_to_break(self) -> list[Callable[[float], Awaitable[None]]]:
        """Each takes how long it lasts, in seconds."""
        return [self.cut, self.stall, self.swallow, self.tear]

    async def cut(self, seconds: float) -> None:
        """What is open breaks, new calls are refused."""
        self.faults["cut"] += 1
        self._refuses = True
        self._reset()
        await asyncio.sleep(seconds)
        self._refuses = False

    async def stall(self, seconds: float) -> None:
        """Nothing gets through for a while, then all of it does."""
        self.faults["stall"] += 1
        self._flows.clear()
        await asyncio.sleep(seconds)
        self._flows.set()

    async def swallow(self, seconds: float) -> None:
        """What is sent, either way, is lost without a word; then the connections break."""
        self.faults["swallow"] += 1
        self._swallows = True
        await asyncio.sleep(seconds)
        self._swallows = False
        self._reset()

    async def tear(self, seconds: float) -> None:
        """The next answer on each open connection breaks off in its middle."""
        self.faults["tear"] += 1
        for call in self._calls:
            call.is_torn = True
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        """Everything ends."""
        self._server.close()
        self._flows.set()
        self._reset()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)

    def _reset(self) -> None:
        for call in list(self._calls):
            call.reset()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError):
                if not self._refuses:
                    await self._connect(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, server = await asyncio.open_connection("127.0.0.1", self._target)
        call = _Call(writer, server)
        self._calls.add(call)
        try:
            await asyncio.gather(
                self._pass_on(reader, server, call, is_answer=False),
                self._pass_on(answers, writer, call, is_answer=True),
            )
        finally:
            self._calls.discard(call)
            call.reset()

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        call: _Call,
        *,
        is_answer: bool,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._flows.wait()
                if writer.is_closing():
                    break
                if self._swallows:
                    continue
                if is_answer and call.is_torn:
                    writer.write(data[: len(data) // 2])
                    break
                writer.write(data)
                await writer.drain()
        call.reset()
