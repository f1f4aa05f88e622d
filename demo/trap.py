"""`Trap`: a port of this machine that no worker may ever reach. It counts every connection."""

import asyncio
import socket
from types import TracebackType
from typing import Self


class Trap:
    """Listens between `__aenter__` and `__aexit__`; `connections` should stay 0."""

    def __init__(self, listeners: list[socket.socket]) -> None:
        self._listeners = listeners
        self._servers: list[asyncio.Server] = []
        self.connections = 0

    async def __aenter__(self) -> Self:
        for listener in self._listeners:
            self._servers.append(await asyncio.start_server(self._caught, sock=listener))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for server in self._servers:
            server.close()
            await server.wait_closed()

    async def _caught(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.close()


def listen_on_loopback() -> socket.socket:
    """A listening socket on a free port of 127.0.0.1."""
    return socket.create_server(("127.0.0.1", 0))


def listen_on_ipv6_too(port: int) -> list[socket.socket]:
    """The same port on the IPv6 loopback, where this machine has one; the trap wants both."""
    if not socket.has_ipv6:
        return []
    try:
        return [socket.create_server(("::1", port), family=socket.AF_INET6)]
    except OSError:
        return []  # IPv6 is compiled in, and switched off
