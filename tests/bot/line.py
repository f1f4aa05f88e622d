"""`Line`: a TCP line to the tracker that a test can slow down or cut."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self


class Line:
    """Forwards to 127.0.0.1:`port` from a port of its own; an async context manager."""

    def __init__(self, port: int) -> None:
        self.delay = 0.0  # seconds before anything goes through
        self.up = True
        self._target = port
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """From now on every connection breaks at once, those that are open too."""
        self.up = False
        for writer in list(self._open):
            writer.transport.abort()

    def restore(self) -> None:
        self.up = True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        try:
            await self._connect(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            self._open.discard(writer)
            self._tasks.discard(task)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.up:
            return
        await asyncio.sleep(self.delay)
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._open.add(back_writer)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, back_writer))
                group.create_task(_pump(back_reader, writer))
        finally:
            back_writer.transport.abort()
            self._open.discard(back_writer)


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await source.read(65536):
            target.write(piece)
            await target.drain()
    target.transport.abort()
