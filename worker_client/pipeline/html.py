"""`page_images`: the image addresses and texts of one HTML page, by the lexbor parser.

Runs only in the parser's own process (see `html_process`): a page of 31 KB can make any HTML5
parser build a tree of gigabytes.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from selectolax.lexbor import LexborHTMLParser, LexborNode

from .licence import MENTION, Link, page_licence
from .srcset import largest
from .text import clean_text
from .urls import Base, is_data, join, parse

#: Where lazy-loading scripts keep the picture's address, most used first (lazysizes, WordPress
#: plugins, jQuery.lazyload, Echo.js, lozad, Wix, Shopify and others).
LAZY_ATTRIBUTES = (
    "data-src",
    "data-original",
    "data-lazy-src",
    "data-lazy",
    "data-url",
    "data-img-src",
    "data-image",
    "data-echo",
    "data-original-src",
    "data-orig-file",
    "data-full-src",
    "data-hi-res-src",
)
LAZY_SRCSETS = ("data-srcset", "data-lazy-srcset", "data-original-set")

#: File names of the empty pictures that stand in `src` until a script puts the real one there.
_PLACEHOLDER = re.compile(
    r"(?:[\w-]{0,40}[_-])?(?:blank|spacer|transparent|placeholder|pixel|loading|loader|lazy"
    r"|lazyload|clear|empty|dummy|1x1|grey|gray|white)(?:[_-][\w-]{0,40})?\.(?:gif|png|svg|jpe?g"
    r"|webp)",
    re.IGNORECASE,
)
#: Captions beyond this many characters on one page are passed over: nested figures, each holding
#: the next, would be read again and again.
_MAX_CAPTION_CHARS = 2**20
#: A figure wraps its picture closely; one further up is about something else.
_FIGURE_REACH = 8


class Image(NamedTuple):
    """One `<img>` with a text and an address."""

    url: str  #: absolute; as written when it is no http(s) URL
    text: str
    licence: str  #: of the page
    source: str  #: img, lazy, srcset or picture: where the address stood


def may_hold_images(text: str) -> bool:
    """False for a page without `<img` or `<image` (which the parser takes for one); cheap."""
    return "<img" in text or "<im" in text.lower()


def page_images(text: str, page_url: str) -> Iterator[Image]:
    """One for each `<img>` with a text and an address, in the order of the page.

    The address is `src` where it holds one, so that the cheap mode (WAT) finds the same; else what
    a lazy-loading script, `srcset` or `<picture>` would show. The text is `alt`, else the caption
    of the figure. `data:` URIs hold the picture itself and do not count.
    """
    tree = LexborHTMLParser(text)
    images = tree.css("img")
    if not images:
        return
    own = parse(page_url)
    # Looking for an element that is not there means walking the whole tree.
    base = _base(tree, own) if "<base" in text.lower() else own
    licence = page_licence(_links(tree), base) if MENTION in text else ""
    page = _Page()
    for image in images:
        attributes = image.attributes
        alt = attributes.get("alt")
        words = (clean_text(alt) if alt else "") or page.caption(image)
        if not words:
            continue
        address, source = _address(image, attributes, page)
        if address:
            yield Image(join(address, base) or address, words, licence, source)


def _base(tree: LexborHTMLParser, own: Base | None) -> Base | None:
    element = tree.css_first("base[href]")
    href = element.attributes.get("href") if element is not None else None
    return own if not href else parse(href, own) or own


def _links(tree: LexborHTMLParser) -> Iterator[Link]:
    for selector in ("link[href]", "a[href]"):
        for node in tree.css(selector):
            attributes = node.attributes
            yield attributes.get("href") or "", attributes.get("rel") or ""


def _address(
    image: LexborNode, attributes: dict[str, str | None], page: "_Page"
) -> tuple[str, str]:
    """The best address and where it stood; "" when there is none."""
    plain = (attributes.get("src") or "").strip()
    usable = bool(plain) and not is_data(plain)
    if usable and not _is_placeholder(plain):
        return plain, "img"
    for name in LAZY_ATTRIBUTES:
        value = (attributes.get(name) or "").strip()
        # Some scripts keep JSON or a template there.
        if value and value[0] not in "{[" and not is_data(value):
            return value, "lazy"
    for name in LAZY_SRCSETS:
        if value := largest(attributes.get(name) or ""):
            return value, "lazy"
    if value := largest(attributes.get("srcset") or ""):
        return value, "srcset"
    if value := page.picture(image):
        return value, "picture"
    return (plain, "img") if usable else ("", "img")


def _is_placeholder(address: str) -> bool:
    name = address.partition("?")[0].rpartition("/")[2]
    return len(name) < 100 and _PLACEHOLDER.fullmatch(name) is not None


class _Page:
    """What pictures of one page share; each thing is looked at once."""

    def __init__(self) -> None:
        self._captions: dict[int, str] = {}
        self._caption_chars = 0
        self._pictures: dict[int, str] = {}

    def caption(self, image: LexborNode) -> str:
        """The caption of the figure around `image`; "" without one."""
        node = image.parent
        for _ in range(_FIGURE_REACH):
            if node is None:
                return ""
            if node.tag == "figure":
                if node.mem_id not in self._captions:
                    self._captions[node.mem_id] = self._read_caption(node)
                return self._captions[node.mem_id]
            node = node.parent
        return ""

    def picture(self, image: LexborNode) -> str:
        """What the `<picture>` around `image` offers; "" without one."""
        parent = image.parent
        if parent is None or parent.tag != "picture":
            return ""
        if parent.mem_id not in self._pictures:
            self._pictures[parent.mem_id] = _first_source(parent)
        return self._pictures[parent.mem_id]

    def _read_caption(self, figure: LexborNode) -> str:
        if self._caption_chars > _MAX_CAPTION_CHARS:
            return ""
        for child in figure.iter():
            if child.tag == "figcaption":
                text = child.text()
                self._caption_chars += len(text)
                return clean_text(text)
        return ""


def _first_source(picture: LexborNode) -> str:
    for child in picture.iter():
        if child.tag == "source":
            attributes = child.attributes
            for name in ("srcset", *LAZY_SRCSETS):
                if value := largest(attributes.get(name) or ""):
                    return value
    return ""
