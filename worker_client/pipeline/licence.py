"""`page_licence`: the Creative Commons licence that a page links to, wherever on the page."""

import re
from collections.abc import Iterable

from .urls import Base, join

#: A page without this holds no licence: a cheap test before its links are looked at.
MENTION = "creativecommons.org/"
#: Longer than any licence's address; what is longer is something else.
MAX_CHARS = 200

_LICENCE = re.compile(r"https?://(?:www\.)?creativecommons\.org/(?:licenses|publicdomain)/[a-z]")

Link = tuple[str, str]  #: href and rel, as written


def page_licence(links: Iterable[Link], base: Base | None) -> str:
    """The first link that says rel=license, else the first at all; "" without one.

    `links` are the page's `<link>`s, then its `<a>`s, the order in which both source kinds can
    tell them. A licence holds for the page, so it counts for pictures above the link as well.
    """
    first = ""
    for href, rel in links:
        if MENTION not in href:
            continue
        address = join(href, base)
        if address is None or len(address) > MAX_CHARS or not _LICENCE.match(address):
            continue
        if "license" in rel.lower().split():
            return address
        first = first or address
    return first
