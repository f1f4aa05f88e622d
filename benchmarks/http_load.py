"""A load generator that costs little: prepared requests over kept connections, parsed by httptools.

It shares two cores with what it measures, so it must not be the bottleneck: no URL parsing, no
header objects, no pool. `Connection.call` takes the bytes of one request.
"""

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import httptools


@dataclass(frozen=True, slots=True)
class Answer:
    """One response."""

    status: int
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Connection(asyncio.Protocol):
    """One connection, one request at a time; it connects again by itself after a break."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Answer] | None = None

    async def call(self, request: bytes) -> Answer:
        """Send, and wait for the answer.

        Raises:
            OSError: the connection broke before the whole answer was there.
        """
        loop = asyncio.get_running_loop()
        if self._transport is None or self._transport.is_closing():
            await loop.create_connection(lambda: self, self._host, self._port)
        assert self._transport is not None
        self._waiting = loop.create_future()
        self._transport.write(request)
        return await self._waiting

    def close(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.close()

    # ── asyncio's and httptools' side ────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A fresh parser for a fresh connection."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._parser = httptools.HttpResponseParser(self)
        self._body = bytearray()

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits hears of it."""
        self._transport = None
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(exc or ConnectionResetError("closed by the server"))

    def data_received(self, data: bytes) -> None:
        """To the parser."""
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """The answer is whole."""
        answer = Answer(self._parser.get_status_code(), bytes(self._body))
        self._body.clear()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(answer)


def request(
    method: str,
    path: str,
    token: str = "",
    body: object = None,
    headers: Sequence[str] = (),
) -> bytes:
    """The bytes of one request; `body` is bytes, or anything for JSON."""
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: tracker", f"Content-Length: {len(data)}"]
    lines += [f"Authorization: Bearer {token}"] if token else []
    lines += ["Content-Type: application/json"] if not isinstance(body, bytes) else []
    return "\r\n".join([*lines, *headers, "", ""]).encode() + data


@dataclass
class Latencies:
    """How long calls took, seconds."""

    values: list[float] = field(default_factory=list)

    def ms(self, percent: float) -> float:
        """That percentile, milliseconds; not a number without calls."""
        if not self.values:
            return math.nan
        ordered = sorted(self.values)
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


async def closed_loop(
    connections: Sequence[Connection],
    step: Callable[[Connection], Awaitable[object]],
    seconds: float,
) -> tuple[float, Latencies]:
    """Steps per second when every connection takes the next step as soon as the last one ended."""
    latencies, end = Latencies(), time.perf_counter() + seconds

    async def work(connection: Connection) -> None:
        while (began := time.perf_counter()) < end:
            await step(connection)
            latencies.values.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(work(connection) for connection in connections))
    return len(latencies.values) / (time.perf_counter() - began), latencies


async def open_loop(
    connections: Sequence[Connection],
    steps: Sequence[Callable[[Connection], Awaitable[object]]],
    per_second: float,
) -> Latencies:
    """Take the steps at this pace, whatever the answers do.

    A latency counts from the moment that its step was due: a server that falls behind cannot hide
    it by slowing the generator (no coordinated omission).
    """
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for connection in connections:
        free.put_nowait(connection)
    latencies, began = Latencies(), time.perf_counter()

    async def take(number: int) -> None:
        due = began + number / per_second
        connection = await free.get()
        try:
            await steps[number](connection)
        finally:
            free.put_nowait(connection)
        latencies.values.append(time.perf_counter() - due)

    async with asyncio.TaskGroup() as tasks:
        for number in range(len(steps)):
            wait = began + number / per_second - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            tasks.create_task(take(number))
    return latencies
