"""`Transport`: one HTTP request to the tracker, repeated while that is safe and worth it."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
from pydantic import ValidationError

from .backoff import full_jitter
from .errors import ErrorBody, RateLimited, StorageFull, Unavailable, error_from

#: No answer of the API is larger; whoever sends more is not the tracker.
_MAX_BODY = 64 * 2**20
_MAX_ERROR_BODY = 64 * 2**10

#: What makes a body afresh for each try: a file read once is empty the second time.
Body = Callable[[], Any]


class NotATracker(Exception):
    """Something answers at that URL, but not as a tracker does; the caller should check the URL."""


class Transport:
    """A session with one tracker. Obeys `retry_after`, else backs off with full jitter.

    Args:
        base_url: `https://host[:port][/prefix]` of the tracker.
        token: sent as a bearer token, to this tracker only.
        patience: seconds after which trying again ends in `Unavailable`; 0 tries once.
        timeout: seconds for one try, from connecting to the last byte of the answer.
        worker: which of the account's machines this is; told with the token.

    Raises:
        ValueError: `base_url` is not an http(s) URL.
    """

    def __init__(
        self,
        base_url: str,
        token: str | None,
        *,
        user_agent: str,
        patience: float,
        timeout: float,
        worker: str | None = None,
    ) -> None:
        self._base = tracker_url(base_url)
        self._token = token
        self._worker = worker
        self._user_agent = user_agent
        self._patience = patience
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # No redirects are followed and no proxies guessed: the token goes where it was told to go.
        self._session = aiohttp.ClientSession(headers={"User-Agent": self._user_agent})
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Body | None = None,
        headers: dict[str, str] | None = None,
        params: dict[str, str] | None = None,
        token: str | None = None,
        repeatable: bool = True,
        patience: float | None = None,
        timeout: float | None = None,
    ) -> bytes:
        """The body of a successful answer.

        A call that is not `repeatable` is tried again only when the tracker surely did nothing:
        it was never reached, or it refused with a reason and a time.

        Raises:
            TrackerError: the tracker refused; `Unavailable` also when patience ran out.
            NotATracker: the answer is no tracker's.
        """
        end = time.monotonic() + (self._patience if patience is None else patience)
        waits = full_jitter()
        while True:
            try:
                async with self.open(
                    method,
                    path,
                    body=body,
                    headers=headers,
                    params=params,
                    token=token,
                    timeout=timeout,
                ) as response:
                    return await _bounded(response, _MAX_BODY)
            except (Unavailable, StorageFull, RateLimited) as refusal:
                delay = _delay(refusal.retry_after, waits)
                if time.monotonic() + delay > end:
                    raise
            except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
                delay = next(waits)
                unreached = isinstance(error, aiohttp.ClientConnectorError)
                if time.monotonic() + delay > end or not (repeatable or unreached):
                    raise Unavailable(
                        f"the tracker at {self._base} cannot be reached ({_why(error)}); "
                        "check the address and your connection, or try again later"
                    ) from error
            await asyncio.sleep(delay)

    @asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        *,
        body: Body | None = None,
        headers: dict[str, str] | None = None,
        params: dict[str, str] | None = None,
        token: str | None = None,
        timeout: float | None = None,
        idle: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One try; a successful response to read from.

        A `timeout` of 0 sets no end to the whole; `idle` seconds without a byte end it too.

        Raises:
            TrackerError: the tracker refused.
            NotATracker: the answer is no tracker's.
            aiohttp.ClientError, TimeoutError: there was no answer.
        """
        assert self._session is not None, "use `async with`"
        url, sent = path, dict(headers or {})
        if path.startswith("/"):
            url = self._base + path
            bearer = token or self._token
            if bearer is not None:
                sent["Authorization"] = f"Bearer {bearer}"
                if self._worker is not None:
                    sent["Laion-Worker"] = self._worker
        seconds = self._timeout if timeout is None else timeout or None
        async with self._session.request(
            method,
            url,
            data=None if body is None else body(),
            headers=sent,
            params=params,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=10, sock_read=idle),
        ) as response:
            if response.status >= 300:
                await self._refuse(response)
            yield response

    async def _refuse(self, response: aiohttp.ClientResponse) -> None:
        raw = await _bounded(response, _MAX_ERROR_BODY)
        try:
            refusal = error_from(ErrorBody.model_validate_json(raw))
        except ValidationError:
            pass
        else:
            raise refusal
        busy = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT)
        if response.status >= 500 or response.status in busy:  # a proxy in front of the tracker
            header = response.headers.get("Retry-After", "")
            raise Unavailable(
                f"the tracker at {self._base} is not there at the moment (HTTP {response.status})",
                retry_after=float(header) if header.isdecimal() else None,
            )
        if response.status in range(300, 400):
            target = response.headers.get("Location", "elsewhere")[:200]
            raise NotATracker(
                f"{self._base} sends callers on to {target!r}; use that address instead"
            )
        raise NotATracker(
            f"{self._base} answers, but not as a tracker does (HTTP {response.status} to "
            f"{response.method} {response.url.path}); check the address"
        )


def tracker_url(base_url: str) -> str:
    """The URL, without a slash at its end.

    Raises:
        ValueError: it cannot be a tracker's; the message says what one looks like.
    """
    try:
        parts = urlsplit(base_url)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    else:
        valid = valid and "@" not in parts.netloc and not (parts.query or parts.fragment)
    if not valid or not re.fullmatch(r"[!-~]+", base_url):
        raise ValueError(
            f"{base_url!r} is not a tracker's URL; it looks like https://tracker.example"
        )
    return base_url.rstrip("/")


async def _bounded(response: aiohttp.ClientResponse, most: int) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_chunked(2**16):
        body += piece
        if len(body) > most:
            raise NotATracker(f"the answer to {response.url.path} is over {most} bytes long")
    return bytes(body)


def _delay(retry_after: float | None, waits: Iterator[float]) -> float:
    jitter = next(waits)
    # The tracker's word is the least; the jitter on top keeps a fleet from coming back at once.
    return jitter if retry_after is None else retry_after + min(jitter, retry_after / 10 + 0.1)


def _why(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):  # its own words name sockets and contexts
        return error.os_error.strerror or type(error.os_error).__name__
    return str(error) or type(error).__name__
