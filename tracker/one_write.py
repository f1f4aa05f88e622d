"""`OneWrite`: an answer's head and body leave in one write."""

import asyncio
from typing import Any


class OneWrite:
    """A transport that sends what is written in one step of the loop in one go.

    uvicorn writes an answer's head, then its body, and each write is a call of the kernel: a tenth
    of what a heartbeat costs.
    """

    __slots__ = ("_loop", "_parts", "_transport", "is_closing")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Send soon, and together with what is written until then."""
        if not self._parts:
            self._loop.call_soon(self._send)
        self._parts.append(data)

    def close(self) -> None:
        """Close once all is sent."""
        self._send()
        self._transport.close()

    def _send(self) -> None:
        if self._parts:
            whole, self._parts = b"".join(self._parts), []
            self._transport.write(whole)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
