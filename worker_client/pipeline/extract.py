"""`extract`: from records to pairs; `PairsDigest`: what two honest workers agree on."""

import hashlib
from collections.abc import Iterable, Iterator

from laion_protocol import Damage, SourceKind
from worker_client.samples import Pair
from worker_client.tally import Tally

from .charset import decode
from .html import may_hold_images
from .html_process import HtmlProcess, PageBroken
from .page import read_page
from .record import Record
from .wat import wat_pairs


def extract(records: Iterable[Record], kind: SourceKind, tally: Tally) -> Iterator[Pair]:
    """Every pair in the records, page by page; counts pages, pairs and damage.

    An address that is no http(s) URL makes a pair as well, for the screen to refuse by name.

    Raises:
        SourceError: from the records.
        ParserUnavailable: this machine cannot start the HTML parser's process.
    """
    pairs = wat_pages(records, tally) if kind is SourceKind.WAT else warc_pages(records, tally)
    for pair in pairs:
        tally.pairs += 1
        yield pair


def wat_pages(records: Iterable[Record], tally: Tally) -> Iterator[Pair]:
    """The pairs of each WAT record."""
    for record in records:
        yield from wat_pairs(record, tally)


def warc_pages(records: Iterable[Record], tally: Tally) -> Iterator[Pair]:
    """The pairs of each HTML page."""
    with HtmlProcess() as parser:
        for record in records:
            page = read_page(record, tally)
            if page is None:
                continue
            tally.pages += 1
            text = decode(page.body, page.content_type)
            if not may_hold_images(text):
                continue
            try:
                images = parser.images(text, page.url)
            except PageBroken:
                tally.damaged(Damage.PAGE_BROKEN)
                continue
            for url, words, licence, source in images:
                yield Pair(url, words, page.url, licence, source)


class PairsDigest:
    """A fingerprint of a set of pairs that does not depend on their order.

    The sum modulo 2**256 of each pair's SHA-256 over URL, NUL, text. Unlike XOR it tells how often
    each pair came.
    """

    def __init__(self) -> None:
        self._sum = 0

    def add(self, pair: Pair) -> None:
        """Take one pair in."""
        digest = hashlib.sha256(f"{pair.url}\0{pair.text}".encode("utf-8", "replace")).digest()
        self._sum = (self._sum + int.from_bytes(digest)) % 2**256

    def watch(self, pairs: Iterable[Pair]) -> Iterator[Pair]:
        """Take in every pair that passes by."""
        for pair in pairs:
            self.add(pair)
            yield pair

    def hexdigest(self) -> str:
        """64 hex digits."""
        return f"{self._sum:064x}"
