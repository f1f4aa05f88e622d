"""`Window`: a sliding view of a file or download, addressed by the file's own offsets."""

from typing import Protocol

#: How far back a reader may return without a new seek (over HTTP: a new request).
KEEP_BYTES = 20 * 2**20
#: A gap shorter than this is read and thrown away; a longer one is worth a seek.
SEEK_BYTES = 4 * 2**20
_STEP = 2**18


class ByteSource(Protocol):
    """Bytes of one file, read forward from wherever it was last told to stand."""

    @property
    def size(self) -> int | None:
        """Length of the file, bytes; None while nobody knows (a server that does not say)."""

    def seek(self, position: int) -> None:
        """Read on from here."""

    def read(self, limit: int) -> bytes:
        """At least one byte and at most `limit`; empty only at the end of the file."""

    def close(self) -> None:
        """Let go of the file or connection; safe to repeat."""


class Window:
    """Random access over a forward reader, in bounded memory."""

    def __init__(self, source: ByteSource) -> None:
        self.source = source
        self._start = 0
        self._buffer = bytearray()
        source.seek(0)

    def block(self, position: int, limit: int = _STEP) -> bytes:
        """Between 1 and `limit` bytes from `position`; empty only at the end of the file."""
        self._fill(position, 1)
        at = position - self._start
        return bytes(self._buffer[at : at + limit]) if at >= 0 else b""

    def exactly(self, position: int, count: int) -> bytes:
        """`count` bytes from `position`; fewer only at the end of the file.

        `count` is at most half of `KEEP_BYTES`.
        """
        self._fill(position, count)
        at = position - self._start
        return bytes(self._buffer[at : at + count])

    def find(self, needle: bytes, position: int, before: int) -> int:
        """The offset of the next `needle` from `position` that starts ahead of `before`; or -1."""
        while position < before:
            self._fill(position, len(needle))
            at = position - self._start
            found = self._buffer.find(needle, at, before - self._start + len(needle) - 1)
            if found >= 0:
                return self._start + found
            position = max(position, self._start + len(self._buffer) - len(needle) + 1)
            if not self._grow():
                return -1
        return -1

    def reachable(self, position: int) -> bool:
        """Whether this offset can be looked at without a new seek."""
        end = self._start + len(self._buffer)
        return self._start <= position <= end + SEEK_BYTES

    def _fill(self, position: int, count: int) -> None:
        end = self._start + len(self._buffer)
        if position < self._start or position > end + SEEK_BYTES:
            self.source.seek(position)
            self._buffer.clear()
            self._start = position
        while self._start + len(self._buffer) < position + count:
            if not self._grow():
                return

    def _grow(self) -> bool:
        data = self.source.read(_STEP)
        if not data:
            return False
        if len(self._buffer) > KEEP_BYTES:
            surplus = len(self._buffer) - KEEP_BYTES // 2
            del self._buffer[:surplus]
            self._start += surplus
        self._buffer += data
        return True
