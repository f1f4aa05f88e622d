"""`join`: an absolute http(s) URL by the rules of the WHATWG URL standard.

Written for this one use: bases are http or https, the result loses its fragment (a server never
sees it), and queries are encoded as UTF-8, so that both source kinds give the same URL.
"""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address
from typing import Final
from urllib.parse import quote, unquote_to_bytes

import idna

#: An absolute URL that the standard leaves as it is; nearly all are like that. The host's last
#: label must not start with a digit: it could be an IPv4 address in disguise.
_PLAIN = re.compile(
    r"https?://(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}"
    r"/(?!\.|%2[eE])(?:[A-Za-z0-9_~!$&()*+,;=:@%-]++|/(?!\.|%2[eE])|(?<!/)\.)*+"
    r"(?:\?[A-Za-z0-9._~!$&()*+,;=:@%/?|{}\[\]\\^`-]*+)?"
)
_PUNYCODE = "xn--"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_DROPPED = str.maketrans("", "", "\t\n\r")
#: C0 controls and blank: stripped from both ends
_ENDS: Final = "".join(map(chr, range(0x21)))
_PORTS = {"http": 80, "https": 443}
_FORBIDDEN_HOST = re.compile(r"[\x00-\x20#%/:<>?@\[\\\]^|\x7f]")
_DIGITS = re.compile(r"0[xX][0-9A-Fa-f]*|[0-9]+")

# What `quote` must leave alone: all of printable ASCII but the standard's percent-encode set.
_ASCII = "".join(map(chr, range(0x21, 0x7F)))
_PATH_SAFE: Final = "".join(c for c in _ASCII if c not in '"#<>?^`{}')
_QUERY_SAFE: Final = "".join(c for c in _ASCII if c not in "\"#<>'")
_USER_SAFE: Final = "".join(c for c in _ASCII if c not in '"#<>?^`{}/:;=@[\\]|')
_NEEDS_PATH = re.compile(rf"[^{re.escape(_PATH_SAFE)}]")
_NEEDS_QUERY = re.compile(rf"[^{re.escape(_QUERY_SAFE)}]")


@dataclass(slots=True, frozen=True)
class Base:
    """A parsed absolute http(s) URL, to resolve others against."""

    scheme: str
    authority: str  #: userinfo, host and port, as they stand in the URL
    path: str
    query: str  #: with its question mark, or ""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}{self.query}"


def join(reference: str, base: Base | None = None) -> str | None:
    """`reference` as a browser would ask for it from a page at `base`, without its fragment.

    None when it is no http(s) URL, or one that the standard refuses. What comes out goes in again
    unchanged.
    """
    if _PLAIN.fullmatch(reference):
        return reference
    parsed = parse(reference, base)
    return None if parsed is None else str(parsed)


def is_data(reference: str) -> bool:
    """Whether this is a `data:` URI: the thing itself instead of where it is."""
    return reference[:5].lower() == "data:"


def parse(reference: str, base: Base | None = None) -> Base | None:
    """As `join`, in its parts."""
    try:
        return _parse(reference.strip(_ENDS).translate(_DROPPED).partition("#")[0], base)
    except _Refused:
        return None


class _Refused(ValueError):
    """The standard calls this a failure."""


def _parse(text: str, base: Base | None) -> Base | None:
    scheme = None
    if found := _SCHEME.match(text):
        scheme = found[1].lower()
        if scheme not in _PORTS:
            return None
        text = text[found.end() :]
        if base is None or scheme != base.scheme or text[:2].replace("\\", "/") == "//":
            return _absolute(scheme, text)
    if base is None:
        return None
    if text[:2].replace("\\", "/") == "//":
        return _absolute(base.scheme, text)
    path, mark, query = text.partition("?")
    path = path.replace("\\", "/")
    if path.startswith("/"):
        return _assembled(base.scheme, base.authority, path, mark + query)
    if path:
        folder = base.path[: base.path.rfind("/") + 1]
        return _assembled(base.scheme, base.authority, folder + path, mark + query)
    if mark:
        return _assembled(base.scheme, base.authority, base.path, mark + query)
    return base


def _absolute(scheme: str, text: str) -> Base:
    text, mark, query = text.partition("?")
    authority, slash, path = text.replace("\\", "/").lstrip("/").partition("/")
    return _assembled(scheme, _authority(scheme, authority), slash + path, mark + query)


def _assembled(scheme: str, authority: str, path: str, query: str) -> Base:
    if _NEEDS_QUERY.search(query):
        query = quote(query, safe=_QUERY_SAFE, errors="replace")
    # A bare "?" says nothing, but two servers may see two URLs: it stays, as in the standard.
    return Base(scheme, authority, _path(path), query)


def _path(path: str) -> str:
    if "/." in path or "%2" in path:
        kept: list[str] = []
        segments = path.split("/")[1:]
        for place, segment in enumerate(segments):
            last = place == len(segments) - 1
            plain = segment.replace("%2e", ".").replace("%2E", ".") if "%2" in segment else segment
            if plain == "..":
                if kept:
                    kept.pop()
                if last:
                    kept.append("")
            elif plain == ".":
                if last:
                    kept.append("")
            else:
                kept.append(segment)
        path = "/" + "/".join(kept)
    if _NEEDS_PATH.search(path):
        path = quote(path, safe=_PATH_SAFE, errors="replace")
    return path or "/"


def _authority(scheme: str, text: str) -> str:
    user, at, host = text.rpartition("@")
    port = ""
    if not host.endswith("]") and (colon := host.rfind(":")) > host.rfind("]"):
        host, port = host[:colon], host[colon + 1 :]
    if port and not (port.isascii() and port.isdigit() and int(port[:9]) <= 65535):
        raise _Refused("port")
    host = _host(host)
    number = int(port) if port else _PORTS[scheme]
    tail = "" if number == _PORTS[scheme] else f":{number}"
    if at:
        name, colon_mark, password = user.partition(":")
        name = quote(name, safe=_USER_SAFE, errors="replace")
        password = quote(password, safe=_USER_SAFE, errors="replace")
        user = f"{name}:{password}@" if colon_mark and password else f"{name}@" if name else ""
    return f"{user}{host}{tail}"


def _host(host: str) -> str:
    if host.startswith("["):
        if not host.endswith("]"):
            raise _Refused("IPv6")
        return _ipv6(host[1:-1])
    if "%" in host:
        host = unquote_to_bytes(host).decode("utf-8", "replace")
    if not host.isascii():  # a host in ASCII is taken as it is, valid punycode or not
        host = _idna(host)
    host = host.lower()
    if not host or _FORBIDDEN_HOST.search(host):
        raise _Refused("host")
    labels = host.removesuffix(".").split(".")
    if labels[-1].isdigit() or _DIGITS.fullmatch(labels[-1]):
        return _ipv4(labels)
    return host


def _idna(host: str) -> str:
    try:
        mapped = idna.uts46_remap(host, std3_rules=False)
        encoded = ".".join(_label(label) for label in mapped.split("."))
    except (UnicodeError, IndexError) as error:  # idna's own errors are UnicodeErrors
        raise _Refused("IDNA") from error
    return encoded


def _label(label: str) -> str:
    if label.startswith(_PUNYCODE):
        idna.ulabel(label)  # beside a label in Unicode, invalid punycode is refused
    if label.isascii():
        return label
    try:
        return idna.alabel(label).decode("ascii")
    except idna.IDNAError:
        # Browsers allow more than IDNA 2008 does: emoji, for one.
        return _PUNYCODE + label.encode("punycode").decode("ascii")


def _ipv4(labels: list[str]) -> str:
    if len(labels) > 4:
        raise _Refused("IPv4")
    numbers = [_ipv4_number(label) for label in labels]
    if any(number > 255 for number in numbers[:-1]) or numbers[-1] >= 256 ** (5 - len(numbers)):
        raise _Refused("IPv4")
    address = numbers[-1] + sum(
        number * 256 ** (3 - place) for place, number in enumerate(numbers[:-1])
    )
    return ".".join(str(address >> shift & 255) for shift in (24, 16, 8, 0))


def _ipv4_number(label: str) -> int:
    try:
        if label[:2].lower() == "0x":
            return int(label[2:] or "0", 16) if "_" not in label else int("")
        if not (label.isascii() and label.isdigit()):
            raise _Refused("IPv4")
        return int(label[:64], 8) if len(label) > 1 and label[0] == "0" else int(label[:64])
    except ValueError as error:
        raise _Refused("IPv4") from error


def _ipv6(text: str) -> str:
    if "%" in text:
        raise _Refused("IPv6")
    try:
        pieces = IPv6Address(text).packed
    except (AddressValueError, ValueError) as error:
        raise _Refused("IPv6") from error
    words = [int.from_bytes(pieces[at : at + 2]) for at in range(0, 16, 2)]
    # The first longest run of two or more zero words becomes "::"; never dotted decimals.
    best, best_length, at = -1, 1, 0
    while at < 8:
        run = at
        while run < 8 and words[run] == 0:
            run += 1
        if run - at > best_length:
            best, best_length = at, run - at
        at = max(run, at + 1)
    if best < 0:
        return f"[{':'.join(f'{word:x}' for word in words)}]"
    front = ":".join(f"{word:x}" for word in words[:best])
    back = ":".join(f"{word:x}" for word in words[best + best_length :])
    return f"[{front}::{back}]"
