"""`wat_pairs`: the pairs of one page from its WAT record, Common Crawl's extract of links as JSON.

A WAT knows only `<img src alt>`; what lazy loading, srcset and captions hide is for the WARC mode.
"""

import json
import re
from collections.abc import Iterator
from typing import Annotated

import msgspec

from laion_protocol import Damage
from worker_client.samples import Pair
from worker_client.tally import Tally

from .licence import MENTION, Link, page_licence
from .record import Record
from .text import clean_text
from .urls import is_data, join, parse

_IMAGE = "IMG@/src"
#: Tested on the bytes: two of three records are of requests and metadata, and many pages have no
#: picture. Parsing them would be most of the work.
_HAS_PAGE = b'"HTML-Metadata"'
_HAS_IMAGE = b'"IMG@/src"'
_SUCCESS = re.compile(rb'"Status"\s*:\s*"?2')

_Text = Annotated[str, msgspec.Meta(max_length=2**21)]


class _Link(msgspec.Struct, gc=False):
    path: str = ""
    url: _Text = ""
    alt: _Text | None = None
    rel: str | None = None


class _Head(msgspec.Struct, gc=False):
    base: str | None = msgspec.field(default=None, name="Base")
    links: list[_Link] = msgspec.field(default_factory=list, name="Link")


class _Html(msgspec.Struct, gc=False):
    head: _Head | None = msgspec.field(default=None, name="Head")
    links: list[_Link] = msgspec.field(default_factory=list, name="Links")


class _Message(msgspec.Struct, gc=False):
    status: str | int = msgspec.field(default="", name="Status")


class _Response(msgspec.Struct, gc=False):
    message: _Message | None = msgspec.field(default=None, name="Response-Message")
    html: _Html | None = msgspec.field(default=None, name="HTML-Metadata")


class _Payload(msgspec.Struct, gc=False):
    response: _Response | None = msgspec.field(default=None, name="HTTP-Response-Metadata")


class _WarcHeader(msgspec.Struct, gc=False):
    url: str = msgspec.field(default="", name="WARC-Target-URI")


class _ArcHeader(msgspec.Struct, gc=False):
    url: str = msgspec.field(default="", name="Target-URI")


class _Envelope(msgspec.Struct, gc=False):
    payload: _Payload | None = msgspec.field(default=None, name="Payload-Metadata")
    warc: _WarcHeader | None = msgspec.field(default=None, name="WARC-Header-Metadata")
    arc: _ArcHeader | None = msgspec.field(default=None, name="ARC-Header-Metadata")


class _Wat(msgspec.Struct, gc=False):
    envelope: _Envelope | None = msgspec.field(default=None, name="Envelope")


_DECODER = msgspec.json.Decoder(_Wat)


def wat_pairs(record: Record, tally: Tally) -> Iterator[Pair]:
    """One pair for each image link with an alt text; counts the page, and JSON that is none."""
    if record.type != "metadata" or _HAS_PAGE not in record.block:
        return
    if _HAS_IMAGE not in record.block:
        tally.pages += _SUCCESS.search(record.block) is not None
        return
    envelope = _envelope(record.block)
    if envelope is None:
        tally.damaged(Damage.JSON_BROKEN)
        return
    response = envelope.payload.response if envelope.payload else None
    if response is None or response.html is None or not _succeeded(response.message):
        return
    tally.pages += 1
    yield from _page_pairs(response.html, _page_url(envelope))


def _envelope(block: bytes) -> _Envelope | None:
    try:
        try:
            return _DECODER.decode(block).envelope
        except (msgspec.DecodeError, UnicodeDecodeError):
            # It is strict about half surrogates and stray bytes; the standard library is not.
            loose = json.loads(block.decode("utf-8", "replace"))
            return msgspec.convert(loose, _Wat).envelope
    except (ValueError, RecursionError):  # ValueError is also the base of msgspec's own
        return None


def _succeeded(message: _Message | None) -> bool:
    return message is not None and str(message.status).startswith("2")


def _page_url(envelope: _Envelope) -> str:
    header = envelope.warc or envelope.arc
    return header.url.strip("<>").strip() if header else ""


def _page_pairs(html: _Html, page_url: str) -> Iterator[Pair]:
    base = parse(page_url)
    if html.head is not None and html.head.base:
        base = parse(html.head.base, base) or base
    licence = page_licence(_links(html), base)
    for link in html.links:
        if link.path != _IMAGE or not link.alt:
            continue
        words = clean_text(link.alt)
        address = link.url.strip()
        if words and address and not is_data(address):
            yield Pair(join(address, base) or address, words, page_url, licence)


def _links(html: _Html) -> Iterator[Link]:
    for link in html.head.links if html.head else ():
        if MENTION in link.url:
            yield link.url, link.rel or ""
    for link in html.links:
        if link.path == "A@/href" and MENTION in link.url:
            yield link.url, link.rel or ""
