"""The miniature web as a plan: its pages, what they hold, and what every URL answers.

The same seed and ports give the same site, byte for byte. Nothing here is served or written yet:
`web` serves it, `archives` packs it as Common Crawl would.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, count, cycle
from types import MappingProxyType
from typing import TypeVar

from laion_protocol import DropReason

from .desk import Desk
from .forms import FORMS
from .pages import CHARSETS, Page, write_page
from .resources import Resource
from .troubles import COMMON, SLOW, mismatch
from .truth import Snippet, Truth

HOSTS = ("gallery", "shop", "news", "blog", "museum", "travel")

#: of the pictures on a page; the rest is one of the common troubles
MATCHING_SHARE = 0.55
MISMATCH_SHARE = 0.2

_Kind = TypeVar("_Kind")


@dataclass(frozen=True)
class Site:
    """A planned web. `pages` are in the order of the archives."""

    web_port: int
    trap_port: int
    pages: tuple[Page, ...]

    @cached_property
    def resources(self) -> MappingProxyType[str, Resource]:
        """URL → what it answers; every other URL is a 404."""
        return MappingProxyType(
            {url: res for page in self.pages for s in page.snippets for url, res in s.resources}
        )

    @cached_property
    def forbidden(self) -> frozenset[str]:
        """URLs of this web that nobody may ask for: the pages too, for they are in the archives."""
        hidden = {url for page in self.pages for s in page.snippets for url in s.forbidden}
        return frozenset(hidden | {page.url for page in self.pages})


def plan_site(
    *, pages: int, pictures_per_page: int, slow: int, web_port: int, trap_port: int, seed: int = 1
) -> Site:
    """A site of that many pages, `slow` pictures of which cost a worker a whole deadline each."""
    dice = random.Random(seed)
    numbers = count(1)
    troubles = _rounds(COMMON, dice)
    forms = _rounds(FORMS, dice)
    slow_ones = cycle(SLOW)
    slow_pages = set(dice.sample(range(pages), min(slow, pages)))
    written = []
    for number in range(pages):
        charset = CHARSETS[number % len(CHARSETS)]
        desk = Desk(
            dice=dice,
            numbers=numbers,
            origin=f"http://{HOSTS[number % len(HOSTS)]}.localhost:{web_port}",
            directory=f"/{2020 + number % 7}/{dice.choice(('spring', 'summer', 'winter'))}/",
            web_port=web_port,
            trap_port=trap_port,
            native_word=charset.word,
        )
        snippets: list[Snippet] = []
        for _ in range(dice.randint(pictures_per_page - 2, pictures_per_page + 2)):
            roll = dice.random()
            if roll < MATCHING_SHARE:
                snippets.append(next(forms)(desk))
            elif roll < MATCHING_SHARE + MISMATCH_SHARE:
                snippets.append(mismatch(desk))
            else:
                snippets.append(next(troubles)(desk))
        if number in slow_pages:
            snippets.append(next(slow_ones)(desk))
        written.append(write_page(number, desk, charset, tuple(snippets)))
    return Site(web_port, trap_port, tuple(written))


def expected_drops(pairs: Iterable[Truth]) -> Counter[DropReason]:
    """How many of these pairs must be dropped, by reason."""
    return Counter(pair.fate for pair in pairs if pair.fate is not None)


def _rounds(kinds: tuple[_Kind, ...], dice: random.Random) -> Iterator[_Kind]:
    """Each kind once, in random order, again and again: none is left out by chance."""
    return chain.from_iterable(dice.sample(kinds, len(kinds)) for _ in count())
