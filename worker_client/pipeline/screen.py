"""`Screen`: drops what is not worth a download, each pair with its reason."""

import hashlib
from collections.abc import Iterable, Iterator
from urllib.parse import unquote

from laion_protocol import DropReason, Recipe
from worker_client.samples import Dropped, Pair

from .language import language_of
from .urls import parse

#: Ends of paths that never lead to a photograph: drawings, icons, pages, scripts, films. Short on
#: purpose. What a server really sends is told later, by its bytes.
BLOCKED_SUFFIXES = (".svg", ".svgz", ".ico", ".cur", ".js", ".css", ".pdf", ".mp4", ".webm")


class Screen:
    """The screen of one shard; it remembers the pairs that it let pass."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._languages = frozenset(recipe.languages)
        self._seen: set[bytes] = set()

    def screen(self, pairs: Iterable[Pair]) -> Iterator[Pair | Dropped]:
        """Each pair, with its language and its text cut to length, or why it goes no further."""
        for pair in pairs:
            yield self._screened(pair)

    def _screened(self, pair: Pair) -> Pair | Dropped:
        recipe = self._recipe
        if len(pair.url) > recipe.max_url_chars:
            return Dropped(pair, DropReason.URL_TOO_LONG)
        url = parse(pair.url)
        if url is None or str(url) != pair.url:
            return Dropped(pair, DropReason.URL_INVALID)
        if unquote(url.path).lower().endswith(BLOCKED_SUFFIXES):
            return Dropped(pair, DropReason.URL_BLOCKED)
        text = pair.text[: recipe.max_text_chars].rstrip()
        if len(text) < recipe.min_text_chars:
            return Dropped(pair, DropReason.TEXT_TOO_SHORT)
        key = hashlib.blake2b(f"{pair.url}\0{text}".encode("utf-8", "replace"), digest_size=16)
        if key.digest() in self._seen:
            return Dropped(pair, DropReason.DUPLICATE_PAIR)
        self._seen.add(key.digest())
        language = language_of(text)
        if self._languages and language not in self._languages:
            return Dropped(pair, DropReason.LANGUAGE)
        return Pair(pair.url, text, pair.page_url, pair.license, pair.source, language)
