"""`HttpBytes`: a file on a web server, read forward over one connection at a time.

Common Crawl refuses clients with several connections or without pauses, so there is never more
than one, a broken transfer goes on where it broke, and refusals are answered by long waits.
"""

import email.utils
import http.client
import os
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from urllib.response import addinfourl

from laion_protocol.backoff import full_jitter

from .opener import opener
from .source_errors import SourceMissing, SourceStopped, SourceUnavailable
from .source_guard import SourceGuard

#: Seconds without a byte before a transfer counts as broken.
STALL_SECONDS = 60.0
#: The longest pause between two tries, seconds; a server's Retry-After may ask for more.
LONGEST_PAUSE = 300.0
#: Bytes asked for in one request when nobody said how many will be needed.
SPAN_BYTES = 4 * 2**20
#: From a server without ranges, this much is read and thrown away at most: a whole WARC file of
#: Common Crawl is about 1 GiB.
MAX_SKIP_BYTES = 2 * 2**30

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
#: Worth another try: 403 and 429 are how Common Crawl's servers say "slower".
_LATER = frozenset({403, 408, 425, 429})
_STEP = 2**18


class HttpBytes:
    """One file behind an http(s) URL, as a `ByteSource`.

    Raises, from `read`:
        SourceMissing: 404, 410, or another final refusal.
        SourceRefused: `guard` does not let this machine connect there.
        SourceUnavailable: no byte came for `patience`, or the file changed meanwhile.
        SourceStopped: `stop` was set.
    """

    def __init__(
        self,
        url: str,
        *,
        user_agent: str,
        stop: threading.Event,
        patience: timedelta,
        first_pause: float = 1.0,
        guard: SourceGuard | None = None,
    ) -> None:
        self.url = url
        self._opener = opener(guard)
        self.size: int | None = None
        self._headers = {"User-Agent": user_agent}
        self._stop = stop
        self._patience = patience.total_seconds()
        self._first_pause = first_pause
        self._pauses: Iterator[float] = full_jitter(first_pause, LONGEST_PAUSE)
        self._last_byte = time.monotonic()
        self._position = 0
        self._horizon = 0
        self._validator: str | None = None
        self._response: addinfourl | None = None
        self._ends = 0  #: where the running response ends; meaningless without one
        self._closed = threading.Event()
        self._watch: threading.Thread | None = None

    def expect(self, end: int) -> None:
        """Bytes up to `end` will be wanted: ask for them in one request."""
        self._horizon = end

    def seek(self, position: int) -> None:
        """Read on from here; costs a new request."""
        self._hang_up()
        self._position = position

    def close(self) -> None:
        """Close the connection."""
        self._closed.set()
        self._hang_up()

    def read(self, limit: int) -> bytes:
        """At least one byte; empty at the end of the file."""
        self._last_byte = time.monotonic()
        while self.size is None or self._position < self.size:
            if self._stop.is_set():
                raise SourceStopped(f"Reading {self.url} was stopped.")
            if self._response is None:
                self._connect()
                continue
            trouble = "the connection broke"
            try:
                data = self._response.read1(min(limit, _STEP))
            except (OSError, http.client.HTTPException) as error:
                data, trouble = b"", _told(error)
            if data:
                self._position += len(data)
                self._pauses = full_jitter(self._first_pause, LONGEST_PAUSE)
                return bytes(data)
            finished = self._position >= self._ends
            if self._ends < 0:  # a body without a length: its end is the file's
                self.size, finished = self._position, True
            self._hang_up()
            if not finished:
                self._pause(trouble, None)
        return b""

    # ── one request ──────────────────────────────────────────────────────────────────────────────

    def _connect(self) -> None:
        end = self._horizon if self._horizon > self._position else self._position + SPAN_BYTES
        request = urllib.request.Request(
            self.url, headers={**self._headers, "Range": f"bytes={self._position}-{end - 1}"}
        )
        if self._validator is not None:
            request.add_header("If-Range", self._validator)
        try:
            response = self._opener.open(request, timeout=STALL_SECONDS)
        except urllib.error.HTTPError as refusal:
            with refusal:
                self._refused(refusal)
        except (OSError, http.client.HTTPException) as error:
            self._pause(_told(error), None)
        except ValueError as error:
            raise SourceMissing(f"{self.url} cannot be asked for: {error}.") from error
        else:
            if response is None:
                raise SourceMissing(f"{self.url} is not an http or https address.")
            self._response = response
            self._watch_stop()
            self._accept(response)

    def _accept(self, response: addinfourl) -> None:
        headers = response.headers
        validator = headers.get("ETag") or headers.get("Last-Modified")
        if validator is not None and validator.startswith("W/"):
            validator = None  # weak: two different files may share it
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            told = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
            if told is None or int(told[1]) != self._position:
                self._hang_up()
                self._pause("the server answered with another range than asked for", None)
                return
            self._same_file(int(told[3]), validator)
            self._ends = int(told[2]) + 1
        elif response.status == HTTPStatus.OK:
            length = headers.get("Content-Length", "")
            whole = int(length) if length.isdecimal() else None
            if self._position > 0 or whole is not None:
                self._same_file(whole, validator)
            self._ends = -1 if whole is None else whole
            self._skip(self._position)
        else:
            self._hang_up()
            raise SourceMissing(f"{self.url} answers with status {response.status}.")

    def _same_file(self, size: int | None, validator: str | None) -> None:
        changed = self.size is not None and size is not None and size != self.size
        if self._validator is not None and validator is not None:
            changed = changed or validator != self._validator
        if changed:
            raise SourceUnavailable(f"{self.url} changed while it was read; try this job again.")
        self.size = size if self.size is None else self.size
        self._validator = self._validator or validator

    def _skip(self, count: int) -> None:
        """The server knows no ranges: pass over what comes before the place we want."""
        if count > MAX_SKIP_BYTES:
            raise SourceUnavailable(
                f"{self.url} is served without ranges, and byte {count} is too far into it."
            )
        left = count
        while left and self._response is not None:
            if self._stop.is_set():
                raise SourceStopped(f"Reading {self.url} was stopped.")
            try:
                data = self._response.read1(min(left, _STEP))
            except (OSError, http.client.HTTPException) as error:
                data, trouble = b"", _told(error)
            else:
                trouble = "the connection broke"
            left -= len(data)
            if not data:
                self._hang_up()
                self._pause(trouble, None)

    def _refused(self, refusal: urllib.error.HTTPError) -> None:
        status = refusal.code
        if status in _GONE:
            raise SourceMissing(f"{self.url} does not exist (status {status}).")
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            total = re.fullmatch(r"bytes \*/(\d+)", refusal.headers.get("Content-Range", ""))
            if self.size is None and (total is None or int(total[1]) <= self._position):
                self.size = self._position  # an empty file has no satisfiable range
                return
            raise SourceUnavailable(f"{self.url} changed while it was read; try this job again.")
        if status in _LATER or status >= 500:
            self._pause(f"it answers with status {status}", refusal.headers.get("Retry-After"))
            return
        raise SourceMissing(f"{self.url} is refused with status {status}; check the address.")

    def _pause(self, trouble: str, retry_after: str | None) -> None:
        pause = max(next(self._pauses), _seconds(retry_after))
        left = self._last_byte + self._patience - time.monotonic()
        if pause > left:
            raise SourceUnavailable(
                f"{self.url} could not be read: {trouble}; gave up after "
                f"{self._patience:.0f} s without a byte; check the address, or try again later."
            )
        if self._stop.wait(pause):
            raise SourceStopped(f"Reading {self.url} was stopped.")

    def _hang_up(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.close()

    # ── stopping a read that waits ───────────────────────────────────────────────────────────────

    def _watch_stop(self) -> None:
        """A blocked read wakes up only when its socket does: shut that down when asked to stop."""
        if self._watch is None:
            self._watch = threading.Thread(target=self._wait_for_stop, daemon=True)
            self._watch.start()

    def _wait_for_stop(self) -> None:
        while not self._closed.is_set():
            if self._stop.wait(0.25):
                response = self._response
                if response is not None:
                    _shut_down(response)
                return


def _shut_down(response: addinfourl) -> None:
    try:
        with socket.socket(fileno=os.dup(response.fileno())) as connection:
            connection.shutdown(socket.SHUT_RDWR)
    except (OSError, ValueError):
        return  # closed meanwhile, which is as good


def _seconds(retry_after: str | None) -> float:
    """Retry-After as seconds from now; 0 when there is none or it makes no sense (RFC 9110)."""
    if retry_after is None:
        return 0.0
    if retry_after.strip().isdecimal():
        return float(retry_after[:9])
    try:
        moment = email.utils.parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _told(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return f"{type(error).__name__}: {reason}".rstrip(": ")
