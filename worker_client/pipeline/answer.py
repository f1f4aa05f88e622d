"""`Answer`: what one request brought, judged while it comes in."""

from dataclasses import dataclass, field
from typing import Final

from laion_protocol import DropReason

from .download_settings import DownloadSettings
from .optout import opted_out

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

#: Main types that are never a picture. `image/*`, none at all, and what is not of the form a/b go
#: on to the decoder, which judges by the bytes.
_NO_PICTURE: Final = frozenset(
    {"application", "audio", "font", "message", "model", "multipart", "text", "video"}
)
#: What servers say of files whose kind they do not know.
_UNKNOWN_TYPES: Final = frozenset(
    {"application/octet-stream", "application/x-octet-stream", "application/binary",
     "application/download", "application/force-download", "application/x-download"}
)  # fmt: skip


@dataclass(slots=True)
class Answer:
    """Status, headers and body of one answer. Both feeders say whether to read on."""

    settings: DownloadSettings
    bot: str  #: our product token, as X-Robots-Tag addresses us
    status: int = 0
    location: str | None = None  #: of a redirect
    retry_after: float | None = None  #: seconds
    dropped: DropReason | None = None  #: what the headers or the length decided
    size: int = 0
    _chunks: list[bytes] = field(default_factory=list)
    _type: str = ""
    _length: int | None = None
    _robots: list[str] = field(default_factory=list)
    _tdm: str | None = None

    @property
    def body(self) -> bytes:
        """The whole body so far."""
        return b"".join(self._chunks)

    def header(self, line: bytes) -> bool:
        """Take one header line; False when nothing that follows is wanted."""
        if self._chunks:
            return True  # a trailer after the body changes nothing
        if line in (b"\r\n", b"\n"):
            return self._headers_end()
        if line.startswith(b"HTTP/"):
            self._begin(line)
        else:
            self._field(line)
        return True

    def chunk(self, data: bytes) -> bool:
        """Take a piece of the body; False when no more is wanted."""
        if self.dropped is not None or self.location is not None:
            return False
        if self.size + len(data) > self.settings.max_bytes:
            self.dropped = DropReason.TOO_MANY_BYTES
            return False
        self.size += len(data)
        self._chunks.append(data)
        return True

    def _begin(self, line: bytes) -> None:
        """A status line: of a 1xx answer there may be several before the one that counts."""
        code = line.split(b" ", 2)[1:2]
        self.status = int(code[0]) if code and code[0].strip().isdigit() else 0
        self.location = self.retry_after = self._length = self._tdm = None
        self._type = ""
        self._robots = []

    def _field(self, line: bytes) -> None:
        raw_name, _, raw = line.partition(b":")
        name = raw_name.strip().lower()
        value = raw.strip().decode("latin-1")
        if name == b"content-type":
            self._type = value.partition(";")[0].strip().lower()
        elif name == b"content-length" and value.isascii() and value.isdigit():
            self._length = int(value[:20])
        elif name == b"x-robots-tag":
            self._robots.append(value)
        elif name == b"tdm-reservation":
            self._tdm = value
        elif name == b"location":
            try:
                self.location = raw.strip().decode()
            except UnicodeDecodeError:
                self.location = value
        elif name == b"retry-after" and value.isascii() and value.isdigit():
            self.retry_after = float(value[:9])  # the form with a date is always too far away

    def _headers_end(self) -> bool:
        if self.status < 200:
            return True
        if self.status not in _REDIRECTS:
            self.location = None
        self.dropped = self._judge()
        decided = self.dropped is not None or self.location is not None
        # An empty body costs nothing to wait for, and the connection stays usable.
        return not decided or self._length == 0

    def _judge(self) -> DropReason | None:
        settings = self.settings
        answered = self.status == 200 or self.location is not None
        if answered and settings.honour_opt_out and opted_out(self._robots, self._tdm, self.bot):
            return DropReason.OPTED_OUT
        if self.location is not None:
            return None
        if self.status != 200:
            return DropReason.HTTP_STATUS
        if self._type not in _UNKNOWN_TYPES and self._type.partition("/")[0] in _NO_PICTURE:
            return DropReason.NOT_AN_IMAGE
        if self._length is not None and self._length > settings.max_bytes:
            return DropReason.TOO_MANY_BYTES
        return None
