"""Archives for tests: real ones where the checkout has them, and records made to measure."""

import os
import threading
import zlib
from collections.abc import Iterable
from pathlib import Path

import pytest

from worker_client.pipeline.record import Record
from worker_client.pipeline.source import Chunk, open_chunk
from worker_client.tally import Tally

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
USER_AGENT = "laion-worker-tests/1 (+https://example.org/contact)"
REAL = sorted(DATA.glob("warc/*/*"))

needs_data = pytest.mark.skipif(not REAL, reason="the shared test data (../shared/data) is absent")


def real_archives() -> list[object]:
    """A parameter for each real archive; one that skips, by name, when there are none."""
    if not REAL:
        return [pytest.param(None, marks=needs_data, id="shared-data-absent")]
    return [pytest.param(path, id=f"{path.parent.name}/{path.name}") for path in REAL]


def record(
    block: bytes,
    *,
    url: str = "http://site.example/",
    type: str = "response",
    content_type: str = "application/http; msgtype=response",
    length: int | None = None,
    end: bytes = b"\r\n\r\n",
) -> bytes:
    """One WARC record; a wrong `length` on request."""
    size = len(block) if length is None else length
    return (
        (
            f"WARC/1.0\r\nWARC-Type: {type}\r\nWARC-Target-URI: {url}\r\n"
            f"Content-Type: {content_type}\r\nContent-Length: {size}\r\n\r\n"
        ).encode()
        + block
        + end
    )


def http(body: bytes, headers: str = "Content-Type: text/html", status: str = "200 OK") -> bytes:
    """The block of a response record."""
    lines = f"HTTP/1.1 {status}\r\n{headers}\r\n" if headers else f"HTTP/1.1 {status}\r\n"
    return lines.encode() + b"\r\n" + body


def page(html: str | bytes, url: str = "http://site.example/", headers: str = "") -> bytes:
    """A response record with an HTML page."""
    body = html.encode() if isinstance(html, str) else html
    return record(http(body, headers or "Content-Type: text/html; charset=utf-8"), url=url)


def member(content: bytes, level: int = 6) -> bytes:
    """One gzip member; level 0 stores the content as it is."""
    deflate = zlib.compressobj(level, zlib.DEFLATED, 31)
    return deflate.compress(content) + deflate.flush()


def write(directory: Path, pieces: Iterable[bytes], name: str = "a.warc.gz") -> str:
    """A file of these bytes; returns its location."""
    path = directory / name
    path.write_bytes(b"".join(pieces))
    return os.fspath(path)


def read(
    location: str | Path, part: int = 0, parts: int = 1, tally: Tally | None = None
) -> list[Record]:
    """All records of one chunk."""
    chunk = Chunk(os.fspath(location), part, parts)
    tally = Tally() if tally is None else tally
    with open_chunk(chunk, tally, user_agent=USER_AGENT, stop=threading.Event()) as reader:
        return list(reader)


def read_parts(location: str | Path, parts: int) -> list[Record]:
    """The records of all chunks, one chunk after the other."""
    return [found for part in range(parts) for found in read(location, part, parts)]
