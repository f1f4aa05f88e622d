"""A hostile image server of our own, on 127.0.0.1: each path is one kind of answer.

`/ok/N` a small body, `/file/NAME` from `files`, `/status/CODE`, `/once/CODE/N?SECONDS` that code
the first time (with Retry-After if given), `/hang`, `/drip`, `/endless`, `/short` (less than
announced), `/announced` (more than anyone wants, announced only), `/cut` (closed before the
answer), `/chain/N` N redirects, `/loop_/`, `/to?URL` a redirect anywhere, `/gzip`, `/bomb` (8 MiB
of zeros in 8 KiB), `/html`, `/typed?TYPE`, `/untyped`, `/robots?TAG&TAG…` one X-Robots-Tag header
each, `/tdm/N`, `/early` a 103 first, `/flood` headers without end.
"""

import asyncio
import gzip
import ssl
import threading
from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import unquote

BODY = bytes(range(256)) * 24  # 6,144 bytes: above the recipe's least
BOMB = gzip.compress(bytes(2**23))
_TYPES = {"jpg": "image/jpeg", "jpeg": "image/jpeg", "svg": "image/svg+xml"}


@dataclass
class Seen:
    """One request as it came in."""

    path: str
    host: str
    headers: dict[str, str]


@dataclass
class ImageServer:
    """Runs in a thread of its own while entered."""

    latency: float = 0.0
    tls: ssl.SSLContext | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    peak: int = 0  #: requests answered at once
    peak_by_host: Counter[str] = field(default_factory=Counter)
    port: int = 0

    def __enter__(self):
        started = threading.Event()
        self._active: Counter[str] = Counter()
        self._tasks: set[asyncio.Task] = set()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main(started)))
        self._thread.start()
        assert started.wait(10)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)

    @property
    def endpoint(self):
        return ("127.0.0.1", self.port)

    def url(self, path, host="127.0.0.1"):
        scheme = "https" if self.tls else "http"
        return f"{scheme}://{host}:{self.port}{path}"

    async def _main(self, started):
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        server = await asyncio.start_server(
            self._connected, "127.0.0.1", 0, ssl=self.tls, backlog=2048
        )
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await self._end.wait()
        await asyncio.sleep(0.05)  # a connection being accepted while it closes would leak
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0.01)  # for the transports to close

    async def _connected(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                if not await self._answer(request.decode("latin-1"), writer):
                    break
            writer.close()  # what was written still goes out
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._tasks.discard(task)

    async def _answer(self, request, writer):
        first, *lines = request.split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines if line)}
        path = first.split(" ")[1]
        seen = Seen(path, headers.get("host", ""), headers)
        self.seen.append(seen)
        self._active[seen.host] += 1
        self.peak = max(self.peak, self._active.total())
        self.peak_by_host[seen.host] = max(self.peak_by_host[seen.host], self._active[seen.host])
        try:
            if self.latency:
                await asyncio.sleep(self.latency)
            name, _, rest = path[1:].partition("?")[0].partition("/")
            query = unquote(path.partition("?")[2])
            answer = getattr(self, f"_{name}")
            return await answer(writer, rest, query) is not False
        finally:
            self._active[seen.host] -= 1

    async def _send(self, writer, body, *headers, status=200, type="image/jpeg"):
        head = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"Content-Length: {len(body)}"]
        head += [f"Content-Type: {type}"] if type else []
        writer.write("\r\n".join([*head, *headers, "", ""]).encode("latin-1") + body)
        await writer.drain()

    async def _ok(self, writer, rest, query):
        await self._send(writer, BODY)

    async def _file(self, writer, rest, query):
        suffix = rest.rpartition(".")[2]
        await self._send(
            writer, self.files[unquote(rest)], type=_TYPES.get(suffix, f"image/{suffix}")
        )

    async def _status(self, writer, rest, query):
        await self._send(writer, b"no", status=int(rest), type="text/html")

    async def _once(self, writer, rest, query):
        if sum(seen.path == self.seen[-1].path for seen in self.seen) > 1:
            return await self._send(writer, BODY)
        retry = [f"Retry-After: {query}"] if query else []
        await self._send(writer, b"no", *retry, status=int(rest.split("/")[0]))

    async def _hang(self, writer, rest, query):
        await asyncio.sleep(60)

    async def _drip(self, writer, rest, query):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: 9999\r\n\r\n")
        while True:
            writer.write(b"\xff")
            await writer.drain()
            await asyncio.sleep(0.05)

    async def _endless(self, writer, rest, query):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nConnection: close\r\n\r\n")
        while True:
            writer.write(BODY)
            await writer.drain()

    async def _short(self, writer, rest, query):
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: 9999\r\n\r\nabc"
        )
        await writer.drain()
        return False

    async def _announced(self, writer, rest, query):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: 1")
        writer.write(b"0" * 25 + b"\r\n\r\nabc" if rest == "absurd" else b"0" * 10 + b"\r\n\r\nabc")
        await asyncio.sleep(60)

    async def _cut(self, writer, rest, query):
        return False

    async def _chain(self, writer, rest, query):
        if rest == "0":
            return await self._send(writer, BODY)
        await self._send(writer, b"go", f"Location: /chain/{int(rest) - 1}", status=302)

    async def _loop_(self, writer, rest, query):
        await self._send(writer, b"", "Location: /loop_/", status=301)

    async def _to(self, writer, rest, query):
        location = query.encode().decode("latin-1")
        await self._send(writer, b"", f"Location: {location}", status=302)

    async def _gzip(self, writer, rest, query):
        await self._send(writer, gzip.compress(BODY), "Content-Encoding: gzip")

    async def _bomb(self, writer, rest, query):
        await self._send(writer, BOMB, "Content-Encoding: gzip")

    async def _html(self, writer, rest, query):
        await self._send(writer, b"<html>", type="text/html; charset=utf-8")

    async def _typed(self, writer, rest, query):
        await self._send(writer, BODY, type=query)

    async def _untyped(self, writer, rest, query):
        await self._send(writer, BODY, type=None)

    async def _robots(self, writer, rest, query):
        await self._send(writer, BODY, *(f"X-Robots-Tag: {tag}" for tag in query.split("&")))

    async def _tdm(self, writer, rest, query):
        await self._send(writer, BODY, f"tdm-reservation: {rest}")

    async def _early(self, writer, rest, query):
        writer.write(b"HTTP/1.1 103 Early Hints\r\nX-Robots-Tag: noai\r\n\r\n")
        await self._send(writer, BODY)

    async def _flood(self, writer, rest, query):
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X-Filler: " + b"x" * 4000 + b"\r\n")
            await writer.drain()
