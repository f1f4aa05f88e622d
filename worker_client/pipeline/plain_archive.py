"""WARC records of an uncompressed file, and where in it reading may start."""

from collections.abc import Iterator
from dataclasses import dataclass

from laion_protocol import Damage
from worker_client.tally import Tally

from .record import (
    MAX_BLOCK_BYTES,
    MAX_HEADER_BYTES,
    BadHeader,
    Head,
    Record,
    header_end,
    parse_head,
)
from .window import Window

#: How far before a part its reader starts to walk. The walk is on the true chain of records at
#: the part's start unless one record is longer than this and holds text that looks like records.
LOOK_BACK_BYTES = 8 * 2**20
#: Candidates whose declared end lies out of the window cost a seek (over HTTP a request); after
#: so many the rest are refused unseen. Guards against a page made of false headers.
MAX_FAR_PROOFS = 16
_OPENING = b"WARC/"
_BLANK_LINES = (b"\n\n", b"\n\r\n")


@dataclass(slots=True, frozen=True)
class _Place:
    """A header at `start`, its block from `body` to `end`."""

    head: Head
    start: int
    body: int
    end: int


class PlainArchive:
    """The records of one file, found by their lengths and checked by what follows them."""

    def __init__(self, window: Window, tally: Tally) -> None:
        self._window = window
        self._tally = tally
        self._far_left = MAX_FAR_PROOFS
        self.end = 0  #: offset just after the last record read

    def first_at(
        self, offset: int, *, within: int = 2**62, look_back: int = LOOK_BACK_BYTES
    ) -> int | None:
        """The file's first record at or up to `within` after `offset`; None without one.

        A stored page may hold text that looks like a record, even one whose end falls together
        with a true one, so nothing near `offset` can prove a header. The walk from `look_back`
        before it can: a false record lies inside a true one, and where that ends the walk is on
        the true chain. So all parts agree as long as no record of more than `look_back` bytes
        holds such text; in a shorter file always.
        """
        begin = max(0, offset - look_back)
        place = self._place(0) if begin == 0 else None
        if place is None or not self._proven(place):
            if offset == 0:
                self._count_gap(0, 1)
            place = self._scan(begin, offset + within)
        while place is not None and place.start < offset:
            place = self._after(place)
        return None if place is None else place.start

    def records(self, start: int, stop: int) -> Iterator[Record]:
        """The records that start from `start`, itself one, up to but without `stop`."""
        place = self._place(start)
        while place is not None and place.start < stop:
            block = self._window.exactly(place.body, min(place.head.length, MAX_BLOCK_BYTES))
            self.end = place.end
            yield place.head.record(block, place.start)
            following = self._after(place)
            if following is None or following.start != self._past_newlines(place.end):
                self._count_gap(place.end, stop)
            place = following

    def _count_gap(self, position: int, stop: int) -> None:
        """The chain broke here: say how, unless it is just the file's end."""
        position = self._past_newlines(position)
        if position >= stop or not self._window.block(position, 1).strip(b"\0"):
            return
        place = self._place(position)
        size = self._window.source.size
        truncated = place is not None and size is not None and place.end > size
        self._tally.damaged(Damage.RECORD_TRUNCATED if truncated else Damage.RECORD_BROKEN)

    def _after(self, place: _Place) -> _Place | None:
        position = self._past_newlines(place.end)
        following = self._place(position)
        if following is not None and self._proven(following):
            return following
        # The record before may have declared a wrong length: look from just after its header.
        return self._scan(position)

    def _scan(self, position: int, before: int = 2**62) -> _Place | None:
        """The next place from `position` that proves itself."""
        while (position := self._window.find(_OPENING, position, before)) >= 0:
            lead = self._window.exactly(max(0, position - 3), min(3, position))
            if position == 0 or lead.endswith(_BLANK_LINES):
                place = self._place(position)
                if place is not None and self._affordable(place) and self._proven(place):
                    return place
            position += len(_OPENING)
        return None

    def _place(self, position: int) -> _Place | None:
        """The header at `position`, if one is there."""
        for size in (2**12, MAX_HEADER_BYTES):
            data = self._window.exactly(position, size)
            end = header_end(data)
            if end >= 0:
                try:
                    head = parse_head(data[:end])
                except BadHeader:
                    return None
                return _Place(head, position, position + end, position + end + head.length)
        return None

    def _proven(self, place: _Place) -> bool:
        """Whether the declared length leads to another header, or to the file's end."""
        size = self._window.source.size
        if size is not None and place.end > size:
            return False
        tail = self._window.exactly(self._past_newlines(place.end), len(_OPENING))
        if len(tail) == len(_OPENING):
            return tail == _OPENING or not tail.strip(b"\0")  # some writers pad with zeros
        size = self._window.source.size  # known by now: that was the end of the file
        return _OPENING.startswith(tail) and (size is None or place.end <= size)

    def _affordable(self, candidate: _Place) -> bool:
        if not self._window.reachable(candidate.end):
            self._far_left -= 1
        return self._far_left >= 0

    def _past_newlines(self, position: int) -> int:
        # Four in a sound file; more is forgiven up to a line's worth.
        data = self._window.exactly(position, 64)
        return position + len(data) - len(data.lstrip(b"\r\n"))
