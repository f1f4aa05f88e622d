"""Records of an ARC file, by warcio: Common Crawl wrote ARC from 2008 to 2012.

ARC has no mark that tells a record's start from its neighbours' content, so such a file is read
whole by the first part, and the other parts are empty.
"""

import io
from collections.abc import Iterator
from typing import IO, cast

from warcio.archiveiterator import ArchiveIterator
from warcio.exceptions import ArchiveLoadFailed

from laion_protocol import Damage
from worker_client.tally import Tally

from .record import MAX_BLOCK_BYTES, Record
from .source_errors import SourceError
from .window import Window


class ArcArchive:
    """All records of one ARC file."""

    def __init__(self, window: Window, tally: Tally) -> None:
        self._window = window
        self._tally = tally
        self.end = 0  #: offset just after the last record read

    def records(self) -> Iterator[Record]:
        """Every record up to the first that warcio cannot make sense of; that one is counted."""
        stream = io.BufferedReader(_WindowFile(self._window))
        records = ArchiveIterator(stream, no_record_parse=True, arc2warc=True)
        while True:
            try:
                found = next(records, None)
                if found is None:
                    return
                block = _block(found.raw_stream)
                offset = cast(int, records.get_record_offset())  # reads to the record's end
            except SourceError:
                raise
            except (ArchiveLoadFailed, ArithmeticError, LookupError, OSError, ValueError) as error:
                # warcio lets the parser's own errors out on a damaged line.
                truncated = isinstance(error, EOFError)
                self._tally.damaged(Damage.RECORD_TRUNCATED if truncated else Damage.RECORD_BROKEN)
                return
            fields = found.rec_headers
            if found.rec_type != "warcinfo":
                yield Record(
                    type=found.rec_type,
                    url=(fields.get_header("WARC-Target-URI") or "").strip(),
                    content_type=fields.get_header("Content-Type") or "",
                    block=block,
                    offset=offset,
                )
            self.end = max(self.end, stream.tell())


def _block(stream: IO[bytes]) -> bytes:
    block = bytearray()
    # warcio's streams give less than asked for.
    while more := stream.read(MAX_BLOCK_BYTES - len(block)):
        block += more
    return bytes(block)


class _WindowFile(io.RawIOBase):
    """A window as the file object that warcio wants."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._position = 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._window.block(self._position, len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
