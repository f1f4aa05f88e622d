"""`Target`: one URL to request, read by libcurl's own parser, so that no second one disagrees."""

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote

import pycurl

_AUTHORITY = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*:)?//(?P<authority>[^/?#]*)", re.IGNORECASE)
_ASCII_VISIBLE = "".join(map(chr, range(0x20, 0x7F)))


class TargetInvalid(ValueError):
    """Not an http(s) URL with a host; drop the pair."""


@dataclass(frozen=True, slots=True)
class Target:
    """An http(s) URL, ready to be requested."""

    url: str  #: ASCII, without user, password and fragment
    scheme: str
    host: str  #: lower case; numeric forms (decimal, octal, hex) as dotted quad, IPv6 in brackets
    port: int

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read an absolute URL.

        Raises:
            TargetInvalid: not http(s), no host, or unreadable.
        """
        return cls._read(pycurl.CurlUrl(), url)

    def redirected(self, location: str) -> Self:
        """Where a `Location` header, absolute or relative, leads from here.

        Raises:
            TargetInvalid: it leads to no http(s) URL.
        """
        return self._read(pycurl.CurlUrl(self.url), location)

    def over_plain_http(self) -> Self:
        """The same request without TLS, for a stand-in server: same host, same port unless 443."""
        if self.scheme == "http":
            return self
        handle = pycurl.CurlUrl(self.url)
        handle.scheme = "http"
        handle.port = None if self.port == 443 else str(self.port)
        return self._read(handle, None)

    @classmethod
    def _read(cls, handle: pycurl.CurlUrl, url: str | None) -> Self:
        try:
            if url is not None:
                handle.setpart(pycurl.UPART_URL, _to_ascii(url), pycurl.U_URLENCODE)
            if handle.scheme not in ("http", "https"):
                raise TargetInvalid(f"scheme {handle.scheme!r}")
            # A stranger's page gives us no password to send, and no server sees a fragment.
            handle.user = handle.password = handle.fragment = None
            return cls(
                url=handle.getpart(pycurl.UPART_URL, 0),
                scheme=handle.scheme,
                host=handle.host.lower().rstrip("."),
                port=int(handle.getpart(pycurl.UPART_PORT, pycurl.U_DEFAULT_PORT)),
            )
        except (pycurl.error, UnicodeError) as error:
            raise TargetInvalid(str(error)) from error


def _to_ascii(url: str) -> str:
    """Host by IDNA, all else percent-encoded UTF-8; libcurl takes ASCII only."""
    url = url.replace(" ", "%20")  # libcurl itself would write a plus in the query
    if url.isascii():
        return url
    found = _AUTHORITY.match(url)
    if found is None:
        return quote(url, safe=_ASCII_VISIBLE)
    start, end = found.span("authority")
    user, at, rest = found["authority"].rpartition("@")
    host, colon, port = rest.partition(":")
    if not host.isascii():
        rest = host.encode("idna").decode("ascii") + colon + port
    authority = quote(user, safe=_ASCII_VISIBLE) + at + rest
    return url[:start] + authority + quote(url[end:], safe=_ASCII_VISIBLE)
