"""`Record`: one WARC (or ARC) record, its block bounded, its header parsed."""

import re
from dataclasses import dataclass

#: Bytes of a block that are kept; the rest is skipped. Common Crawl cuts a page at 1 MiB (5 MiB
#: since 2025); the room above is for the HTTP header and for archives of others.
MAX_BLOCK_BYTES = 8 * 2**20
#: A header block longer than this is damage. Real ones are below 2 KiB.
MAX_HEADER_BYTES = 64 * 2**10

_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]+")
#: More digits are damage: no crawler writes a record of a terabyte.
_LENGTH = re.compile(r"[0-9]{1,12}")


@dataclass(slots=True, frozen=True)
class Record:
    """One record; `block` is what follows the WARC header, cut at `MAX_BLOCK_BYTES`."""

    type: str  #: WARC-Type, lower case: response, resource, metadata …
    url: str  #: WARC-Target-URI without the angle brackets that wget writes, "" without one
    content_type: str  #: of the record, as written
    block: bytes
    offset: int  #: of the record's first byte in the file; of its sync point in a .gz file


class BadHeader(ValueError):
    """These bytes are no WARC header."""


def header_end(data: bytes | bytearray) -> int:
    """Where the header block that opens `data` ends, after its blank line; -1 when it does not."""
    found = _BLANK_LINE.search(data)
    return found.end() if found else -1


def parse_fields(lines: bytes) -> dict[str, str]:
    """`Name: value` lines as a dict with lower-case names; the first of several equal names counts.

    The first, as warcio reads it: a hostile server that repeats a name cannot override the
    crawler's own line. Lines without a colon are passed over.
    """
    fields: dict[str, str] = {}
    if b"\n " in lines or b"\n\t" in lines:
        lines = _FOLD.sub(b" ", lines)
    for line in lines.split(b"\n"):
        name, colon, value = line.partition(b":")
        if colon:
            key = name.strip().lower().decode("latin-1")
            if key not in fields:
                fields[key] = value.strip().decode("utf-8", "replace")
    return fields


@dataclass(slots=True, frozen=True)
class Head:
    """A WARC header: what the reader needs of it."""

    type: str
    url: str
    content_type: str
    length: int  #: of the block, bytes, as declared

    def record(self, block: bytes, offset: int) -> Record:
        """The record that this header opens."""
        return Record(self.type, self.url, self.content_type, block, offset)


def parse_head(data: bytes | bytearray) -> Head:
    """Read one WARC header block, `WARC/` line to blank line.

    Raises:
        BadHeader: no WARC version line, no WARC-Type, or no believable Content-Length.
    """
    if not data.startswith(b"WARC/"):
        raise BadHeader("does not open with WARC/")
    return head_of(parse_fields(bytes(data)))


def head_of(fields: dict[str, str]) -> Head:
    """The same, of fields with lower-case names.

    Raises:
        BadHeader: no WARC-Type, or no believable Content-Length.
    """
    length = fields.get("content-length", "")
    if "warc-type" not in fields or not _LENGTH.fullmatch(length):
        raise BadHeader("no WARC-Type, or no Content-Length")
    url = fields.get("warc-target-uri", "").strip("<>").strip()
    return Head(fields["warc-type"].lower(), url, fields.get("content-type", ""), int(length))
