"""`decode`: a page's bytes as text, in the encoding that a browser would take.

In this order: byte order mark, HTTP header, `<meta>`, UTF-8 when the bytes are valid UTF-8, and a
guess by the frequency of letters. The guess is our own, small and fixed, because two workers must
make the same of the same page: a library that gets better between their versions would not do.
"""

import re

import webencodings

from .charset_guess import FALLBACK, guess

#: How much of a page is searched for `<meta>`. The standard says 1024; real pages put scripts and
#: comments in front of it.
META_BYTES = 4096
#: How much of a page the guess looks at.
GUESS_BYTES = 64 * 2**10

_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16le"), (b"\xfe\xff", "utf-16be"))
_HEADER_CHARSET = re.compile(r"charset\s*=\s*[\"']?\s*([^\s\"';,]+)", re.IGNORECASE)
_ATTRIBUTE = rb"[^\s>/=][^\s>/=]*(?:\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"'>][^\s>]*))?"
#: A comment, a meta tag, another tag with its attributes, or other markup: what the prescan steps
#: over, so that a `<meta` inside a comment or an attribute does not count.
_MARKUP = re.compile(
    rb"<!--(?:>|->|.*?-->)"
    rb"|<meta[\s/](?P<meta>(?:[\s/]*" + _ATTRIBUTE + rb")*)"
    rb"|</?[a-z](?:[^\s>]*)(?:[\s/]*" + _ATTRIBUTE + rb")*"
    rb"|<[!/?][^>]*>",
    re.IGNORECASE | re.DOTALL,
)
_PAIR = re.compile(rb"([^\s>/=][^\s>/=]*)(?:\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>][^\s>]*)))?")
_META_CHARSET = re.compile(rb"charset\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s;\"'][^\s;]*))", re.I)


def decode(body: bytes, content_type: str = "") -> str:
    """The page as text; bytes that its encoding does not know become U+FFFD."""
    for mark, marked in _MARKS:
        if body.startswith(mark):
            return _read(body[len(mark) :], marked)
    name = _header(content_type) or _meta(body[:META_BYTES])
    if name is None:
        try:
            return body.decode("utf-8")
        except UnicodeDecodeError as error:
            # A page cut in the middle of a character is still UTF-8.
            if error.start >= len(body) - 3 and error.start > 0:
                name = "utf-8"
            else:
                name = guess(body[:GUESS_BYTES])
    return _read(body, name)


def sniff(body: bytes, content_type: str = "") -> str:
    """The name of the encoding that `decode` takes, as the WHATWG Encoding standard spells it."""
    for mark, name in _MARKS:
        if body.startswith(mark):
            return name
    declared = _header(content_type) or _meta(body[:META_BYTES])
    if declared is not None:
        return declared
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return guess(body[:GUESS_BYTES])
    return FALLBACK if body.isascii() else "utf-8"


def _read(body: bytes, name: str) -> str:
    if name == "utf-8":
        return body.decode("utf-8", "replace")
    if name == "replacement":  # the standard's answer to encodings that hide markup
        return "\ufffd"
    # The standard decodes gbk as its superset gb18030; the library's codec is the smaller one.
    codec = webencodings.lookup("gb18030" if name == "gbk" else name).codec_info
    text: str = codec.decode(body, "replace")[0]
    return text


def _label(label: str) -> str | None:
    encoding = webencodings.lookup(label)
    return None if encoding is None else str(encoding.name)


def _header(content_type: str) -> str | None:
    found = _HEADER_CHARSET.search(content_type)
    return _label(found[1]) if found else None


def _meta(start: bytes) -> str | None:
    """The encoding that `<meta>` declares (the standard's prescan)."""
    for markup in _MARKUP.finditer(start):
        if markup["meta"] is None:
            continue
        name = _declared(markup["meta"])
        if name is not None:
            # A page that could be read this far is not UTF-16, whatever it says.
            if name in ("utf-16le", "utf-16be"):
                return "utf-8"
            return FALLBACK if name == "x-user-defined" else name
    return None


def _declared(attributes: bytes) -> str | None:
    seen: dict[bytes, bytes] = {}
    for name, *values in _PAIR.findall(attributes):
        seen.setdefault(name.lower(), b"".join(values))
    if b"charset" in seen:
        return _label(seen[b"charset"].decode("latin-1").strip())
    if seen.get(b"http-equiv", b"").lower() == b"content-type":
        found = _META_CHARSET.search(seen.get(b"content", b""))
        if found:
            return _label(b"".join(part or b"" for part in found.groups()).decode("latin-1"))
    return None
