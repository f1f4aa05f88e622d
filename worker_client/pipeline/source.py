"""`open_chunk`: the records of one part of one archive, from a disk or a web server.

Part k of K of a file of S bytes covers the bytes [k*S//K, (k+1)*S//K). It holds the records whose
sync point (see `gzip_archive`, `plain_archive`) lies there, so the parts together hold every record
of the file once.
"""

import re
import threading
import urllib.parse
import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto
from pathlib import Path
from types import TracebackType
from typing import Self

from worker_client.tally import Tally

from .arc_archive import ArcArchive
from .gzip_archive import GzipArchive
from .gzip_fast import MAGIC
from .plain_archive import PlainArchive
from .ranges import HttpBytes
from .record import Record
from .source_errors import (
    SourceError,
    SourceMissing,
    SourceRefused,
    SourceStopped,
    SourceUnavailable,
    SourceUnreadable,
)
from .source_guard import SourceGuard
from .window import ByteSource, Window

__all__ = [
    "Chunk",
    "ChunkReader",
    "SourceError",
    "SourceMissing",
    "SourceRefused",
    "SourceStopped",
    "SourceUnavailable",
    "SourceUnreadable",
    "open_chunk",
]

#: The kind of a file is told from its first bytes: these many.
HEAD_BYTES = 64 * 2**10
#: Asked for beyond a part's end: where most last records end.
_OVERHANG_BYTES = 2**18
#: The version line of an ARC file, or the URL record that opens a headless one.
_ARC = re.compile(rb"filedesc:|https?://\S+ \d{1,3}(\.\d{1,3}){3} \d{14} ")


@dataclass(slots=True, frozen=True)
class Chunk:
    """Part `part` of `parts` of the archive at `location`: an http(s) or file URL, or a path."""

    location: str
    part: int
    parts: int


class _Kind(Enum):
    GZIP = auto()
    PLAIN = auto()
    ARC = auto()
    EMPTY = auto()


class ChunkReader:
    """Iterates over a chunk's records; made by `open_chunk`, closed by `with`."""

    def __init__(self, chunk: Chunk, source: ByteSource, tally: Tally) -> None:
        self.chunk = chunk
        self.first_byte = 0  #: offset of the first record read; the part's own start without one
        self.end_byte = 0  #: offset just after the last record read
        self._source = source
        self._tally = tally
        self._records = self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file or connection."""
        self._records.close()
        self._source.close()

    def __iter__(self) -> Iterator[Record]:
        return self

    def __next__(self) -> Record:
        """The next record.

        Raises:
            SourceError: one of its kinds; see `source_errors`.
        """
        record = next(self._records)
        self._tally.records += 1
        return record

    def _read(self) -> Generator[Record, None, None]:
        source, chunk = self._source, self.chunk
        if isinstance(source, HttpBytes):
            source.expect(HEAD_BYTES)
        window = Window(source)
        kind = self._kind(window)
        if source.size is None and chunk.parts > 1:
            raise SourceUnreadable(
                f"The server of {chunk.location} does not tell the file's size, so it cannot be "
                "read in parts; give it as one part."
            )
        size = source.size if source.size is not None else 2**62
        begin = chunk.part * size // chunk.parts
        stop = (chunk.part + 1) * size // chunk.parts
        self.first_byte = self.end_byte = begin
        if isinstance(source, HttpBytes):
            source.expect(min(size, stop + _OVERHANG_BYTES))
        if kind is _Kind.EMPTY:
            return
        if kind is _Kind.ARC:
            if chunk.part == 0:
                arc = ArcArchive(window, self._tally)
                for record in arc.records():
                    self.end_byte = arc.end
                    yield record
                self.end_byte = arc.end
            return
        archive = (GzipArchive if kind is _Kind.GZIP else PlainArchive)(window, self._tally)
        start = archive.first_at(begin) if begin < stop else None
        if start is None or start >= stop:
            return
        self.first_byte = start
        for record in archive.records(start, stop):
            self.end_byte = archive.end
            yield record
        self.end_byte = archive.end

    def _kind(self, window: Window) -> _Kind:
        head = window.exactly(0, HEAD_BYTES)
        if not head:
            raise SourceUnreadable(
                f"{self.chunk.location} is empty: there is no archive in it; fetch it again."
            )
        text = head
        if head.startswith(MAGIC):
            inflated = _inflated(head)
            if inflated == b"":
                return _Kind.EMPTY
            text = inflated or b""
        if _ARC.match(text):
            return _Kind.ARC
        if text.lstrip(b"\r\n").startswith(b"WARC/"):
            return _Kind.PLAIN if text is head else _Kind.GZIP
        # The first record is broken. Another one near it tells what this file is.
        if GzipArchive(window, Tally()).first_at(0, within=HEAD_BYTES) is not None:
            return _Kind.GZIP
        if PlainArchive(window, Tally()).first_at(0, within=HEAD_BYTES) is not None:
            return _Kind.PLAIN
        raise SourceUnreadable(
            f"{self.chunk.location} is no web archive, neither WARC nor ARC, gzipped or plain; "
            "give a .warc.gz, .warc.wat.gz, .warc or .arc.gz file."
        )


def open_chunk(
    chunk: Chunk,
    tally: Tally,
    *,
    user_agent: str,
    stop: threading.Event,
    patience: timedelta = timedelta(minutes=30),
    first_pause: float = 1.0,
    guard: SourceGuard | None = None,
) -> ChunkReader:
    """The records of one chunk, for a `with` block and a `for` loop.

    Damaged records are counted in `tally` and passed over. Over HTTP, waits between tries start at
    up to `first_pause` seconds and double; `patience` is how long to go without a single byte.
    Setting `stop` ends the iteration by SourceStopped, at once, also while it waits for bytes.

    A `guard` is for a chunk that a stranger named: it says which files and servers may be opened.

    Raises:
        SourceMissing: there is no such local file.
        SourceRefused: the guard does not let this file be read.
            All other errors come from iterating.
    """
    if not 0 <= chunk.part < chunk.parts:
        raise ValueError(f"part {chunk.part} of {chunk.parts} parts")
    try:
        location = urllib.parse.urlsplit(chunk.location)
    except ValueError as error:
        raise SourceMissing(f"{chunk.location} is no address: {error}.") from error
    if location.scheme in ("http", "https"):
        if not location.hostname:
            raise SourceMissing(f"{chunk.location} names no server; check the address.")
        source: ByteSource = HttpBytes(
            chunk.location,
            user_agent=user_agent,
            stop=stop,
            patience=patience,
            first_pause=first_pause,
            guard=guard,
        )
    else:
        is_url = location.scheme == "file"
        path = Path(urllib.parse.unquote(location.path) if is_url else chunk.location)
        source = FileBytes(path if guard is None else guard.check_file(path), stop)
    return ChunkReader(chunk, source, tally)


class FileBytes:
    """A local file, as a `ByteSource`."""

    def __init__(self, path: Path, stop: threading.Event) -> None:
        self._path = path
        self._stop = stop
        try:
            self._file = path.open("rb")
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            reason = getattr(error, "strerror", None) or error
            raise SourceMissing(
                f"{path} cannot be opened: {reason}; name a file that can be read."
            ) from error
        self.size: int | None = path.stat().st_size

    def seek(self, position: int) -> None:
        """Read on from here."""
        self._file.seek(position)

    def read(self, limit: int) -> bytes:
        """The next bytes."""
        if self._stop.is_set():
            raise SourceStopped(f"Reading {self._path} was stopped.")
        try:
            return self._file.read(limit)
        except OSError as error:
            raise SourceUnavailable(f"{self._path} cannot be read: {error.strerror}.") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _inflated(head: bytes) -> bytes | None:
    """The first text of a gzip file; b"" when it is sound and empty, None when it is neither."""
    while head.startswith(MAGIC):
        inflate = zlib.decompressobj(31)
        try:
            text = inflate.decompress(head, HEAD_BYTES)
        except zlib.error:
            return None
        if text or not inflate.eof:
            return text or None
        head = inflate.unused_data
    return b"" if not head else None
