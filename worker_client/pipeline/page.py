"""`read_page`: the HTML page that a record holds, its transfer and content codings undone."""

import io
import re
import zlib
from dataclasses import dataclass

from fastwarc.stream_io import BrotliReader, ZstdReader

from laion_protocol import Damage
from worker_client.tally import Tally

from .record import MAX_HEADER_BYTES, Record, header_end, parse_fields

#: A page that unfolds to more is a bomb or no page; the largest real ones are near 5 MiB.
MAX_PAGE_BYTES = 8 * 2**20

_STATUS = re.compile(rb"HTTP/\d(?:\.\d)? +(\d{3})\b")
_HTML = frozenset({"text/html", "application/xhtml+xml"})
#: What a page without a Content-Type must open with (WHATWG MIME Sniffing, §7.1, the patterns
#: that say HTML).
_SNIFFED = re.compile(
    rb"[\t\n\x0c\r ]*<(?:!DOCTYPE HTML|HTML|HEAD|SCRIPT|IFRAME|H1|DIV|FONT|TABLE|A|STYLE|TITLE|B"
    rb"|BODY|BR|P)[ >]|[\t\n\x0c\r ]*<!--",
    re.IGNORECASE,
)
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]{0,1024})?\r?\n")


@dataclass(slots=True, frozen=True)
class Page:
    """One page as the server sent it; its charset is still to be found."""

    url: str
    content_type: str  #: with its parameters, "" without one
    body: bytes


class _BadCoding(ValueError):
    """The body does not decode as its headers say."""


def read_page(record: Record, tally: Tally) -> Page | None:
    """The page in a record; None when it holds none, or a damaged one, which is counted."""
    if record.type == "resource":
        if _media_type(record.content_type) not in _HTML:
            return None
        return Page(record.url, record.content_type, record.block)
    if record.type != "response" or not record.url.lower().startswith(("http:", "https:")):
        return None
    if record.content_type and _media_type(record.content_type) != "application/http":
        return None
    end = header_end(record.block[:MAX_HEADER_BYTES])
    status = _STATUS.match(record.block)
    if status is None or end < 0:
        tally.damaged(Damage.RECORD_BROKEN)
        return None
    if not 200 <= int(status[1]) < 300:
        return None
    fields = parse_fields(record.block[:end])
    content_type = fields.get("content-type", "")
    if content_type and _media_type(content_type) not in _HTML:
        return None
    try:
        body = _decoded(
            record.block[end:],
            fields.get("transfer-encoding", ""),
            fields.get("content-encoding", ""),
        )
    except _BadCoding:
        tally.damaged(Damage.ENCODING_BROKEN)
        return None
    if not content_type and not _SNIFFED.match(body):
        return None
    return Page(record.url, content_type, body)


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _decoded(body: bytes, transfer: str, content: str) -> bytes:
    if "chunked" in transfer.lower():
        body = _joined_chunks(body)
    for coding in reversed(content.lower().split(",")):
        body = _unfolded(body, coding.strip())
    return body


def _joined_chunks(body: bytes) -> bytes:
    """Undo chunked transfer; a body that is not chunked, as many archives keep it, stays."""
    parts: list[bytes] = []
    position = 0
    while size := _CHUNK_SIZE.match(body, position):
        length = int(size[1], 16)
        position = size.end()
        parts.append(body[position : position + length])
        position += length
        if length == 0 or position >= len(body):
            break
        position += len(body[position : position + 2]) - len(
            body[position : position + 2].lstrip(b"\r\n")
        )
    return b"".join(parts) if parts else body


def _unfolded(body: bytes, coding: str) -> bytes:
    """Undo one content coding; a body that plainly is not coded, whatever its header says, stays.

    Raises:
        _BadCoding: it does not decode, or unfolds beyond `MAX_PAGE_BYTES`.
    """
    match coding:
        case "" | "identity" | "none" | "utf-8":  # the last is a common mistake
            return body
        case "gzip" | "x-gzip":
            return _inflated(body, 31) if body.startswith(b"\x1f\x8b") else body
        case "deflate":
            # RFC 9110 means zlib; some servers send the raw stream instead.
            zlib_header = len(body) > 1 and int.from_bytes(body[:2]) % 31 == 0 and body[0] & 15 == 8
            return _inflated(body, 15 if zlib_header else -15)
        case "br" | "zstd":
            reader = (BrotliReader if coding == "br" else ZstdReader)(io.BytesIO(body))
            try:
                unfolded = bytes(reader.read(MAX_PAGE_BYTES + 1))
            except OSError as error:
                if _SNIFFED.match(body):
                    return body
                raise _BadCoding(coding) from error
        case _:
            raise _BadCoding(coding)
    if len(unfolded) > MAX_PAGE_BYTES:
        raise _BadCoding(f"{coding} bomb")
    return unfolded


def _inflated(body: bytes, window_bits: int) -> bytes:
    inflate = zlib.decompressobj(window_bits)
    try:
        # A cut body still gives its beginning: zlib does not complain at a missing end.
        unfolded = inflate.decompress(body, MAX_PAGE_BYTES + 1)
    except zlib.error as error:
        if _SNIFFED.match(body):
            return body
        raise _BadCoding("deflate") from error
    if len(unfolded) > MAX_PAGE_BYTES:
        raise _BadCoding("deflate bomb")
    if body and not unfolded and not inflate.eof:
        raise _BadCoding("deflate without content")
    return unfolded
