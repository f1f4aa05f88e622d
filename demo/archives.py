"""Packs pages into WARC and WAT files as Common Crawl lays them out.

A file opens with a warcinfo record; then each page is three records: request, response, metadata.
Every record is a gzip member of its own, so that a reader may start at any of them. The same pages
give the same bytes.
"""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlsplit
from uuid import NAMESPACE_URL, uuid5

from warcio.recordloader import ArcWarcRecord
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from .pages import Page
from .wat import html_metadata

#: when these pages were "crawled": a constant, so that the files are the same on each run
CRAWLED_AT = "2026-10-18T01:58:10Z"
CRAWL_NAME = "CC-MAIN-2026-43"
CRAWLER = "CCBot/2.0 (https://commoncrawl.org/faq/)"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a WARC record lies in its file, which its WAT record tells."""

    record: ArcWarcRecord
    file: str
    offset: int
    length: int


def write_archives(pages: Sequence[Page], directory: Path, *, files: int) -> None:
    """Write that many WARC files under `directory/warc/` and their WAT twins under `wat/`.

    The pages are dealt in runs of equal length, in order. `warc_paths` and `wat_paths` name the
    files, relative to `directory`.
    """
    share = -(-len(pages) // files)
    for number, (warc, wat) in enumerate(zip(warc_paths(files), wat_paths(files), strict=True)):
        for path in (warc, wat):
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
        part = pages[number * share : (number + 1) * share]
        with (directory / warc).open("wb") as warc_file, (directory / wat).open("wb") as wat_file:
            _write_pair(part, warc, warc_file, wat_file)


def warc_paths(files: int) -> tuple[str, ...]:
    """The names of the WARC files, relative to their directory."""
    return tuple(f"warc/{CRAWL_NAME}-{n:05d}.warc.gz" for n in range(files))


def wat_paths(files: int) -> tuple[str, ...]:
    """The names of the WAT files."""
    return tuple(f"wat/{CRAWL_NAME}-{n:05d}.warc.wat.gz" for n in range(files))


def _write_pair(pages: Sequence[Page], name: str, warc: BinaryIO, wat: BinaryIO) -> None:
    warc_writer, wat_writer = WARCWriter(warc, gzip=True), WARCWriter(wat, gzip=True)
    for writer, software in ((warc_writer, "Nutch"), (wat_writer, "ia-web-commons")):
        writer.write_record(_warcinfo(writer, name, software))
    for page in pages:
        for record in _records(warc_writer, page):
            offset = warc.tell()
            warc_writer.write_record(record)
            place = _Place(record, name, offset, warc.tell() - offset)
            wat_writer.write_record(_wat_record(wat_writer, page, place))


def _warcinfo(writer: WARCWriter, name: str, software: str) -> ArcWarcRecord:
    lines = f"isPartOf: {CRAWL_NAME}\r\npublisher: Common Crawl\r\nsoftware: {software}\r\n"
    identity = uuid5(NAMESPACE_URL, f"{software} {name}")
    headers = {
        "WARC-Record-ID": f"<urn:uuid:{identity}>",
        "WARC-Date": CRAWLED_AT,
        "WARC-Filename": name,
    }
    return _record(writer, "warcinfo", "", lines.encode(), "application/warc-fields", headers)


def _records(writer: WARCWriter, page: Page) -> Iterator[ArcWarcRecord]:
    parts = urlsplit(page.url)
    asked = StatusAndHeaders(
        f"GET {quote(parts.path)} HTTP/1.1",
        [("User-Agent", CRAWLER), ("Accept-Encoding", "br,gzip"), ("Host", parts.netloc)],
        is_http_request=True,
    )
    yield _record(writer, "request", page.url, b"", http=asked)
    answered = StatusAndHeaders(
        "200 OK",
        [
            ("Server", "nginx"),
            ("Content-Type", page.content_type),
            # what came over the wire was packed; the crawler unpacked it, and says so
            ("X-Crawler-Content-Encoding", "gzip"),
            ("X-Crawler-Content-Length", str(len(page.body) // 4)),
            ("Content-Length", str(len(page.body))),
        ],
        protocol="HTTP/1.1",
    )
    yield _record(writer, "response", page.url, page.body, http=answered)
    notes = b"fetchTimeMs: 121\r\ncharset-detected: UTF-8\r\n"
    yield _record(writer, "metadata", page.url, notes, "application/warc-fields")


def _record(
    writer: WARCWriter,
    kind: str,
    url: str,
    payload: bytes,
    content_type: str = "",
    headers: dict[str, str] | None = None,
    *,
    http: StatusAndHeaders | None = None,
) -> ArcWarcRecord:
    return writer.create_warc_record(
        url,
        kind,
        payload=io.BytesIO(payload),
        length=len(payload),
        warc_content_type=content_type,
        warc_headers_dict=headers
        or {
            "WARC-Record-ID": f"<urn:uuid:{uuid5(NAMESPACE_URL, f'{kind} {url}')}>",
            "WARC-Date": CRAWLED_AT,
            "WARC-IP-Address": "127.0.0.1",
        },
        http_headers=http,
    )


def _wat_record(writer: WARCWriter, page: Page, place: _Place) -> ArcWarcRecord:
    about = {
        "Container": {
            "Filename": place.file,
            "Compressed": True,
            "Offset": str(place.offset),
            "Gzip-Metadata": {"Deflate-Length": str(place.length)},
        },
        "Envelope": {
            "Payload-Metadata": _payload_metadata(page, place.record),
            "Format": "WARC/1.0",
            "WARC-Header-Metadata": dict(place.record.rec_headers.headers),
        },
    }
    url = page.url
    wat = _record(writer, "metadata", url, json.dumps(about).encode(), "application/json")
    refers_to = place.record.rec_headers.get_header("WARC-Record-ID")
    wat.rec_headers.replace_header(
        "WARC-Record-ID", f"<urn:uuid:{uuid5(NAMESPACE_URL, f'wat {refers_to}')}>"
    )
    wat.rec_headers.add_header("WARC-Refers-To", refers_to)
    return wat


def _payload_metadata(page: Page, record: ArcWarcRecord) -> dict[str, Any]:
    kind = record.rec_headers.get_header("Content-Type")
    if record.rec_type == "metadata":
        return {"Actual-Content-Type": kind, "WARC-Metadata-Metadata": {"Metadata-Records": []}}
    headers = dict(record.http_headers.headers)
    if record.rec_type == "request":
        message = {"Method": "GET", "Path": urlsplit(page.url).path, "Version": "HTTP/1.1"}
        about = {"Request-Message": message, "Headers": headers}
        return {"Actual-Content-Type": kind, "HTTP-Request-Metadata": about}
    return {
        "Actual-Content-Type": kind,
        "HTTP-Response-Metadata": {
            "Response-Message": {"Version": "HTTP/1.1", "Status": "200", "Reason": "OK"},
            "Headers": headers,
            "HTML-Metadata": html_metadata(page.html),
            "Entity-Length": str(len(page.body)),
        },
    }
