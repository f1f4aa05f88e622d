"""`Line`: a TCP line to a server that a test can cut and mend."""

import asyncio
from typing import Self
from urllib.parse import urlsplit


class Line:
    """Forwards a port of 127.0.0.1 to a URL's; while cut, every connection is refused at once."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._to = (parts.hostname, parts.port)
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task] = set()
        self.is_cut = False
        self.cut_after: int | None = None  #: bytes sent up before the line cuts itself
        self.refused = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        self.is_cut = True
        for writer in self._open:
            writer.transport.abort()

    def mend(self) -> None:
        self.is_cut = False
        self.cut_after = None

    async def _connected(self, reader, writer) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        self._open.add(writer)
        other = None
        try:
            if self.is_cut:
                self.refused += 1
                writer.transport.abort()
                return
            other_reader, other = await asyncio.open_connection(*self._to)
            self._open.add(other)
            await asyncio.gather(
                self._pump(reader, other, up=True), self._pump(other_reader, writer, up=False)
            )
        except OSError:
            pass
        finally:
            for end in (writer, other):
                if end is not None:
                    self._open.discard(end)
                    end.transport.abort()
            self._tasks.discard(task)

    async def _pump(self, reader, writer, *, up: bool) -> None:
        while data := await reader.read(4096):
            if up and self.cut_after is not None:
                self.cut_after -= len(data)
                if self.cut_after < 0:
                    self.cut()
                    return
            writer.write(data)
            await writer.drain()
        writer.close()
