"""`PatientProtocol`: uvicorn's HTTP, with an end to the patience.

uvicorn bounds how long a connection may idle between two requests. It bounds neither how slowly a
request's head may come (slow loris), nor its size, nor how slowly an answer may be read. Bodies
are bounded by `routes.limits`.
"""

import asyncio
import socket
import struct
from collections import Counter
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, ClassVar, Final, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from laion_protocol import InvalidRequest, RateLimited, TooLarge, TrackerError

from .one_write import OneWrite
from .settings import Settings

#: A token, a few names and numbers: our own requests have well under a kilobyte.
MAX_HEAD: Final = 32 * 2**10
#: Seconds until a refused caller may come back.
_COME_BACK: Final = 30.0
_AT_ONCE: Final = struct.pack("ii", 1, 0)
#: One home, or one rented machine, has that much of IPv6.
_IPV6_PREFIX: Final = 64


class PatientProtocol(HttpToolsProtocol):
    """One connection. A subclass by `patient` says how patient."""

    head_seconds: ClassVar[float]
    read_seconds: ClassVar[float]
    most: ClassVar[int]
    crowds: ClassVar["Crowds"]
    open_by_crowd: ClassVar[Counter[str]]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._crowd: str | None = None
        self._refused = False
        self._in_head = True  # a request may begin, or has begun, and its head is not whole
        self._begun = False
        self._heads = 0  # that were whole
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._read_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head, unless this address has enough connections."""
        super().connection_made(cast(asyncio.Transport, OneWrite(transport, self.loop)))
        crowd = self._crowd = self.crowds.of(self.client[0]) if self.client else None
        if crowd is not None:
            self.open_by_crowd[crowd] += 1
            if self.open_by_crowd[crowd] > self.most:
                self._refuse(
                    RateLimited(
                        f"your address has {self.most} connections open, which is the most",
                        retry_after=_COME_BACK,
                    )
                )
                return
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        if self._crowd is not None:
            self.open_by_crowd[self._crowd] -= 1
            if not self.open_by_crowd[self._crowd]:
                del self.open_by_crowd[self._crowd]
        self._stop(self._head_timer)
        self._stop(self._read_timer)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, and see to it that a head that has begun ends."""
        if self._refused:
            return
        was_in_head, heads = self._in_head, self._heads
        super().data_received(data)
        if not self._in_head or self.transport.is_closing():
            return
        only_head = was_in_head and heads == self._heads
        self._head_bytes = self._head_bytes + len(data) if only_head else 0
        if self._head_bytes > MAX_HEAD:
            self._refuse(TooLarge(f"the request's head is over {MAX_HEAD} bytes"))
        elif self._head_timer is None and (only_head or self._begun):
            self._wait_for_head()

    def on_message_begin(self) -> None:
        """The first byte of a request is there."""
        self._begun = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_head = self._begun = False
        self._heads += 1
        self._stop(self._head_timer)
        self._head_timer = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is whole; another one may follow."""
        self._in_head = True
        super().on_message_complete()

    def pause_writing(self) -> None:
        """The client reads more slowly than we send."""
        super().pause_writing()
        self._read_timer = self.loop.call_later(self.read_seconds, self._give_up)

    def resume_writing(self) -> None:
        """It has read what was waiting."""
        self._stop(self._read_timer)
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP is answered like any other mistake."""
        self._refuse(InvalidRequest("that is not a request as HTTP/1.1 writes them"), status=400)

    def _wait_for_head(self) -> None:
        self._head_timer = self.loop.call_later(self.head_seconds, self._too_slow)

    def _too_slow(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._wait_for_head()  # half a request behind one that is being answered
            return
        slow = InvalidRequest(f"the request's head was not there after {self.head_seconds:g} s")
        self._refuse(slow, status=408)

    def _give_up(self) -> None:
        # the kernel, too, has megabytes of the answer; without this it would go on offering them
        self.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE
        )
        self.transport.abort()

    def _refuse(self, refusal: TrackerError, *, status: int | None = None) -> None:
        self._refused = True
        if self.transport.is_closing():
            return
        body = refusal.to_body()
        raw = body.model_dump_json(exclude_none=True).encode()
        head = [STATUS_LINE[status or refusal.status], b"content-type: application/json\r\n"]
        if body.retry_after is not None:
            head.append(b"retry-after: %d\r\n" % round(body.retry_after))
        head.append(b"content-length: %d\r\nconnection: close\r\n\r\n" % len(raw))
        self.transport.write(b"".join(head) + raw)
        self.transport.close()

    @staticmethod
    def _stop(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()


class Crowds:
    """Whose connections are counted together."""

    def __init__(self, trusted_proxies: tuple[str, ...] = ()) -> None:
        """Proxies are trusted networks.

        Raises:
            ValueError: one of them is no network.
        """
        self._proxies = [ip_network(text) for text in trusted_proxies]

    def of(self, peer: str) -> str | None:
        """An address, or an IPv6 home. None for proxies and this machine: they hold everybody's
        connections, and may have any number."""
        try:
            address = ip_address(peer)
        except ValueError:  # a unix socket's peer has none
            return None
        if isinstance(address, IPv6Address):
            address = address.ipv4_mapped or address
        if address.is_loopback or any(address in network for network in self._proxies):
            return None
        if isinstance(address, IPv6Address):
            return str(ip_network((address, _IPV6_PREFIX), strict=False))
        return str(address)


def patient(settings: Settings) -> type[PatientProtocol]:
    """The protocol of one server."""
    return type(
        "Patient",
        (PatientProtocol,),
        {
            "head_seconds": settings.head_seconds,
            "read_seconds": settings.read_seconds,
            "most": settings.max_connections,
            "crowds": Crowds(settings.trusted_proxies),
            "open_by_crowd": Counter(),
        },
    )
