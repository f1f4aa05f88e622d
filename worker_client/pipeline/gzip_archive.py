"""WARC records of a gzip file, and where in it reading may start.

A *sync point* is a gzip member whose content opens with `WARC/`. Common Crawl writes one member
per record, so there every record is one. Members without that opening carry on the record before
them. A file in one member, or in blocks that ignore records, has one sync point, its start: it is
read whole by the first part, and the other parts are empty.
"""

import zlib
from collections.abc import Iterator

from laion_protocol import Damage
from worker_client.tally import Tally

from .gzip_fast import MAGIC, SoundRecords
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

#: A chain of whole members this long proves its start: no record that stores an archive
#: uncompressed inside its own member is that long (Common Crawl cuts at 5 MiB).
CHAIN_BYTES = 8 * 2**20
#: Inflated bytes that one part spends on proving candidates; then their opening must do. Guards
#: against a file made of thousands of lures.
PROOF_BYTES = 2**30
_OPENING = b"WARC/"
_STEP = 2**18


class BrokenMember(Exception):
    """This gzip member does not inflate to its end with the right checksum."""

    def __init__(self, *, truncated: bool) -> None:
        super().__init__("the file ends inside a gzip member" if truncated else "bad gzip member")
        self.damage = Damage.RECORD_TRUNCATED if truncated else Damage.RECORD_BROKEN


class Member:
    """One gzip member, inflated piece by piece."""

    def __init__(self, window: Window, start: int) -> None:
        self.start = start
        self._window = window
        self._inflate = zlib.decompressobj(31)  # 31: gzip framing, CRC and length checked
        self._position = start
        # Small at first: most members are small, and what follows one is copied in vain.
        self._step = 2**12
        self._opening = b""

    def opens_record(self) -> bool:
        """Whether this member is a sync point.

        Raises:
            BrokenMember: it does not even start.
        """
        while len(self._opening) < len(_OPENING) and (more := self._read()):
            self._opening += more
        return self._opening.startswith(_OPENING)

    @property
    def end(self) -> int:
        """Offset just after the member, once `pieces` ran out."""
        return self._position - len(self._inflate.unused_data)

    def pieces(self) -> Iterator[bytes]:
        """All of the content.

        Raises:
            BrokenMember: found only when its place is reached.
        """
        if self._opening:
            yield self._opening
        while piece := self._read():
            yield piece

    def _read(self) -> bytes:
        while not self._inflate.eof:
            data = self._inflate.unconsumed_tail
            if not data:
                data = self._window.block(self._position, self._step)
                self._position += len(data)
                self._step = min(self._step * 4, _STEP)
                if not data:
                    raise BrokenMember(truncated=True)
            try:
                piece = self._inflate.decompress(data, _STEP)
            except zlib.error as error:
                raise BrokenMember(truncated=False) from error
            if piece:
                return piece
        return b""


class GzipArchive:
    """The sync points of one file, and the records behind each."""

    def __init__(self, window: Window, tally: Tally) -> None:
        self._window = window
        self._tally = tally
        self._proof_left = PROOF_BYTES
        self.end = 0  #: offset just after the last member read

    def first_at(
        self, offset: int, *, within: int = 2**62, chain_bytes: int = CHAIN_BYTES
    ) -> int | None:
        """The file's first sync point at or up to `within` after `offset`; None without one.

        Bytes inside a record may look like one: deflate data by chance, or a stored archive on
        purpose. A candidate counts when its member inflates with the right checksum and a chain
        of whole members follows it for `chain_bytes`, or to the end of the file. When the chain
        breaks, the file is damaged there or the candidate lies inside a record; the walk from
        `chain_bytes` before `offset` tells, because a false chain ends inside the record that
        holds it. So all parts agree on every sync point of a file in which no record that stores
        gzipped WARC records is longer than `chain_bytes`, and of every shorter file.
        """
        if offset == 0 and self._opens_record(0):
            return 0  # true by definition, whole or not
        if offset == 0 and self._member_end(0) is None:
            self._tally.damaged(Damage.RECORD_BROKEN)
        found = self._scan(offset, offset + within)
        if found is None or offset == 0 or self._chain_holds(found, chain_bytes):
            return found
        walk = self._scan(max(0, offset - chain_bytes))
        while walk is not None and (walk < offset or not self._opens_record(walk)):
            walk = self._next_member(walk)
        return walk

    def records(self, start: int, stop: int) -> Iterator[Record]:
        """The records of all sync points from `start`, itself one, up to but without `stop`."""
        sound = SoundRecords(self._window, start, stop)
        for record in sound:
            self.end = sound.end
            yield record
        # fastwarc read ahead, so this may be a step back; the window still holds what it is to.
        member: Member | None = Member(self._window, sound.end)
        while member is not None and member.start < stop:
            group = _Group(self._window, member)
            yield from self._group_records(group)
            member = group.next_member
            if member is None and group.resume_at is not None:
                found = self._scan(group.resume_at)
                member = None if found is None else Member(self._window, found)
            self.end = group.end

    def _group_records(self, group: "_Group") -> Iterator[Record]:
        try:
            while group.skip_newlines():
                try:
                    head = group.head()
                except BadHeader:
                    self._tally.damaged(Damage.RECORD_BROKEN)
                    if not group.skip_to_header():
                        return
                    continue
                block = group.take(min(head.length, MAX_BLOCK_BYTES))
                whole = len(block) + group.skip(head.length - len(block)) == head.length
                # Looking past the record also makes zlib compare the checksum of its member.
                group.skip_newlines()
                if whole:
                    yield head.record(block, group.start)
                else:
                    self._tally.damaged(Damage.RECORD_TRUNCATED)
        except BrokenMember as broken:
            self._tally.damaged(broken.damage)
        if group.broken_after is not None:
            self._tally.damaged(group.broken_after)

    def _scan(self, position: int, before: int = 2**62) -> int | None:
        """The next member from `position` that opens a record and is whole."""
        while (position := self._window.find(MAGIC, position, before)) >= 0:
            if self._opens_record(position) and self._member_end(position) is not None:
                return position
            position += 1
        return None

    def _opens_record(self, position: int) -> bool:
        try:
            return Member(self._window, position).opens_record()
        except BrokenMember:
            return False

    def _member_end(self, position: int) -> int | None:
        """Where the member that starts here ends; None when it is not whole."""
        if self._proof_left <= 0:
            return position + 1
        try:
            member = Member(self._window, position)
            for piece in member.pieces():
                self._proof_left -= len(piece)
                if self._proof_left <= 0:
                    return position + 1
            return member.end
        except BrokenMember:
            return None

    def _next_member(self, position: int) -> int | None:
        end = self._member_end(position)
        if end is not None and self._window.exactly(end, len(MAGIC)) == MAGIC:
            return end
        return self._scan(position + 1 if end is None else end)

    def _chain_holds(self, position: int, chain_bytes: int) -> bool:
        stop = position + chain_bytes
        while position < stop and self._proof_left > 0:
            end = self._member_end(position)
            if end is None:
                return False
            if not self._window.block(end, 1):
                return True
            position = end
        return True


class _Group:
    """The text from one sync point to the next, as one buffer that fills itself."""

    def __init__(self, window: Window, member: Member) -> None:
        self._window = window
        self._pieces = member.pieces()
        self._member = member
        self._text = bytearray()
        self._open = True
        self.start = member.start
        self.next_member: Member | None = None  #: the next sync point, opened, once text ran out
        self.resume_at: int | None = None  #: where to look for it, when it does not follow
        #: what is wrong with what follows the last member, when that is no sound one
        self.broken_after: Damage | None = None
        self.end = member.start

    def head(self) -> Head:
        """Take the WARC header that stands at the start of the text."""
        while (end := header_end(self._text[:MAX_HEADER_BYTES])) < 0:
            had = len(self._text)
            self._need(min(max(2 * had, 2**12), MAX_HEADER_BYTES))
            if len(self._text) == had:
                raise BadHeader("a header without an end")
        head = parse_head(self._text[:end])
        del self._text[:end]
        return head

    def take(self, count: int) -> bytes:
        """Up to `count` bytes of text; fewer only when the group ends."""
        self._need(count)
        taken = bytes(self._text[:count])
        del self._text[:count]
        return taken

    def skip(self, count: int) -> int:
        """Pass over up to `count` bytes of text; returns how many there were."""
        left = count
        while left and self._need(1):
            step = min(left, len(self._text))
            del self._text[:step]
            left -= step
        return count - left

    def skip_newlines(self) -> bool:
        """Pass over the blank lines after a record; False when the group ends there."""
        while self._need(1):
            if self._text[0] not in b"\r\n":
                return True
            del self._text[:1]
        return False

    def skip_to_header(self) -> bool:
        """After a broken header: pass over text until a line opens with `WARC/`."""
        del self._text[:1]
        while True:
            found = self._text.find(b"\n" + _OPENING)
            if found >= 0:
                del self._text[: found + 1]
                return True
            del self._text[: max(0, len(self._text) - len(_OPENING))]
            if not self._need(len(self._text) + 1):
                return False

    def _need(self, count: int) -> bool:
        while len(self._text) < count and self._open:
            piece = self._piece()
            if piece:
                self._text += piece
        return len(self._text) >= count

    def _piece(self) -> bytes:
        try:
            piece = next(self._pieces, b"")
            if not piece:
                self._turn_page()
        except BrokenMember:
            self._open = False
            self.resume_at = self._member.start + 1
            raise
        return piece

    def _turn_page(self) -> None:
        """The member is read: go on to the next one, or end the group."""
        self.end = end = self._member.end
        opening = self._window.exactly(end, len(MAGIC))
        if opening != MAGIC:
            self._open = False
            # Tapes and some writers pad with zeros; that is no damage.
            self.broken_after = Damage.RECORD_BROKEN if opening.strip(b"\0") else None
            self.resume_at = end if opening else None
            return
        member = Member(self._window, end)
        try:
            opens_record = member.opens_record()
        except BrokenMember as broken:  # its neighbour, the record before it, is still whole
            self._open = False
            self.broken_after = broken.damage
            self.resume_at = end + 1
            return
        if opens_record:
            self._open = False
            self.next_member = member
        else:
            self._member, self._pieces = member, member.pieces()
