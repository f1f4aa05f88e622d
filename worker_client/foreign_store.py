"""`ForeignStore`: files to and from a store that a tracker names and that is not the tracker.

The tracker is a stranger: left alone, it could have this machine write to the router in the
volunteer's living room. So only the public web is opened, judged on the very address that is
connected, with TLS unless the volunteer chose a tracker without, and the token stays at home.
"""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import SplitResult, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from laion_protocol import NotFound, Unavailable, UploadMismatch

from .pipeline.addresses import is_literal, refusal

_PORTS: Final = {"https": 443, "http": 80}
#: What a store's upload may need, and nothing that would change where it goes or who sends it.
_HEADER: Final = re.compile(r"(?i)content-type|content-md5|x-amz-[a-z0-9-]+|if-none-match")
_CODE: Final = re.compile(rb"<Code>([A-Za-z0-9]{1,64})</Code>")
#: S3's words for a body that is not the announced one.
_GARBLED: Final = frozenset(
    {"BadDigest", "IncompleteBody", "InvalidDigest", "XAmzContentChecksumMismatch"}
    | {"XAmzContentSHA256Mismatch"}
)
#: What a store says of a file that it does not have; one that may not be read any more is 403.
_GONE: Final = (404, 410)
_MAX_ERROR: Final = 16 * 2**10
_PIECE: Final = 2**18
_CONNECT: Final = 10.0
#: Seconds without a byte that end a download, and seconds that end an upload of 32 MiB.
_IDLE, _UPLOAD = 60.0, 3600.0


class StoreRefused(Exception):
    """The tracker sends files to, or has them read from, an address that this machine does not
    open; the message says why."""


class ForeignStore:
    """Opens what the volunteer's machine may open, and sends nothing of ours but the file.

    Args:
        tracker: its URL; without TLS there, none is asked of its store.
        allow_private: endpoints that the volunteer named, opened although they are private.
        user_agent: what this worker calls itself.
    """

    def __init__(
        self, tracker: str, allow_private: Iterable[tuple[str, int]], user_agent: str
    ) -> None:
        self._schemes = ("https", "http") if urlsplit(tracker).scheme == "http" else ("https",)
        self._allow_private = frozenset(allow_private)
        self._user_agent = user_agent

    async def put(self, url: str, headers: dict[str, str], path: Path, *, size: int) -> None:
        """Send a file of `size` bytes to `url`, in one try.

        Raises:
            StoreRefused: this machine does not open such a URL, or send such headers.
            UploadMismatch: the file here, or what arrived, is not what was announced.
            Unavailable: the store did not take it; ask the tracker for a new URL and try again.
            OSError: the file cannot be read.
        """
        self._check(url)
        for name in headers:
            if not _HEADER.fullmatch(name):
                raise StoreRefused(f"the tracker wants a header {name[:64]!r} sent to its store")
        with path.open("rb") as file:
            here = await asyncio.to_thread(lambda: path.stat().st_size)
            if here != size:
                raise UploadMismatch(f"{path.name} has {here} bytes here, not {size} any more")
            timeout = aiohttp.ClientTimeout(total=_UPLOAD, sock_connect=_CONNECT)
            async with self._open("PUT", url, headers, file, timeout):
                pass

    async def get(self, url: str, to: BinaryIO, *, most: int) -> None:
        """Write what lies at `url` to `to`, in one try; the caller checks size and hash.

        Raises:
            StoreRefused: this machine does not open such a URL.
            NotFound: the store does not have it any more.
            Unavailable: the store does not give it, or more than `most` bytes; ask the tracker for
                a new URL and try again.
        """
        self._check(url)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=_IDLE)
        async with self._open("GET", url, {}, None, timeout) as response:
            written = 0
            async for piece in response.content.iter_chunked(_PIECE):
                written += len(piece)
                if written > most:
                    raise Unavailable(f"{_host(url)} sends more than the announced {most} bytes")
                await asyncio.to_thread(to.write, piece)

    def _check(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError as error:
            raise StoreRefused(f"the tracker names {url[:100]!r}, which is no URL") from error
        if parts.scheme not in self._schemes or not parts.hostname or parts.username is not None:
            allowed = " or ".join(self._schemes)
            raise StoreRefused(
                f"the tracker names {_shown(parts)!r} as its store; this worker opens {allowed} "
                "URLs of a host there, and no others"
            )
        if is_literal(parts.hostname):
            if why := self._why_not(parts.hostname, port):
                raise StoreRefused(why)
        elif parts.hostname.replace(".", "").isdigit():  # 127.1: an address that no look-up judges
            raise StoreRefused(f"the tracker names {parts.hostname!r}, which is no address")

    def _why_not(self, address: str, port: int) -> str:
        """Empty, if this endpoint may be opened."""
        if (address, port) in self._allow_private:
            return ""
        why = refusal(address, port)
        if why is None:
            return ""
        shown = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        return (
            f"the tracker's store is at {shown}, which a tracker may not have opened ({why}); "
            f"use --allow-private {shown} if you trust it"
        )

    @asynccontextmanager
    async def _open(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        body: BinaryIO | None,
        timeout: aiohttp.ClientTimeout,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        resolver = _Judging(self)
        connector = aiohttp.TCPConnector(resolver=resolver)
        try:
            async with (
                aiohttp.ClientSession(
                    connector=connector, headers={"User-Agent": self._user_agent}
                ) as session,
                session.request(
                    method, URL(url, encoded=True), data=body, headers=headers,
                    allow_redirects=False, timeout=timeout,
                ) as response,
            ):  # fmt: skip
                if response.status not in (200, 201, 204):
                    await _refuse(response)
                yield response
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise Unavailable(
                resolver.refused
                or f"the project's store at {_host(url)} does not answer "
                f"({str(error) or type(error).__name__})"
            ) from error


class _Judging(AbstractResolver):
    """Gives aiohttp the addresses that may be opened; those it connects to, and no others."""

    def __init__(self, store: ForeignStore) -> None:
        self._store = store
        self._inner = ThreadedResolver()
        self.refused = ""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        allowed = []
        for found in await self._inner.resolve(host, port, family):
            why = self._store._why_not(found["host"], port)
            if why:
                self.refused = self.refused or why
            else:
                allowed.append(found)
        if not allowed:
            raise OSError(None, self.refused)
        self.refused = ""
        return allowed

    async def close(self) -> None:
        await self._inner.close()


async def _refuse(response: aiohttp.ClientResponse) -> None:
    found = _CODE.search(await response.content.read(_MAX_ERROR))
    code = found[1].decode() if found else ""
    if code in _GARBLED:
        raise UploadMismatch(f"the project's store got another file than was announced ({code})")
    if response.method == "GET" and response.status in _GONE:
        raise NotFound(f"the project's store at {response.url.host} has lost this file")
    raise Unavailable(
        f"the project's store at {response.url.host} refuses "
        f"(HTTP {response.status}{', ' if code else ''}{code})"
    )


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _shown(parts: SplitResult) -> str:
    # The rest of it may be the right to use it, which nobody needs to see.
    return f"{parts.scheme}://{parts.hostname or ''}"
