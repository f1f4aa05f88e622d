"""Whether an answer's headers say that this picture is not for training or indexing."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

#: Words that opt out. noai and noimageai are DeviantArt's (2022), noindex and noimageindex the
#: search engines'; `none` is Google's short form of "noindex, nofollow".
OPT_OUT_TOKENS: Final = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})

#: Directives that carry a value after a colon; what stands before the colon is no bot's name.
_WITH_VALUE: Final = frozenset(
    {"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"}
)
_BOT_NAME: Final = re.compile(r"[a-z0-9*][a-z0-9._+*-]*\Z")


def product_token(user_agent: str) -> str:
    """The name by which sites address us: what stands before the first slash, lower case."""
    return re.split(r"[/\s(]", user_agent.strip(), maxsplit=1)[0].lower()


def opted_out(robots_tags: Iterable[str], tdm_reservation: str | None, bot: str) -> bool:
    """True when a header tells us to leave the picture alone.

    `robots_tags` are the values of all `X-Robots-Tag` headers, `tdm_reservation` that of the W3C
    TDM Reservation Protocol ("1" reserves), `bot` our product token.
    """
    if tdm_reservation is not None and tdm_reservation.strip() == "1":
        return True
    return any(
        addressee in (None, "*", bot) and token in OPT_OUT_TOKENS
        for value in robots_tags
        for addressee, token in _directives(value)
    )


def _directives(value: str) -> Iterator[tuple[str | None, str]]:
    """(bot or None for everyone, directive). A bot's name holds until the next one."""
    addressee: str | None = None
    for part in value.lower().split(","):
        token = part.strip()
        name, colon, rest = token.partition(":")
        name = name.strip()
        if colon and name in OPT_OUT_TOKENS:
            token = name  # "noai:" is a slip of the pen, not a bot called noai
        elif colon and name not in _WITH_VALUE and _BOT_NAME.match(name):
            addressee, token = name, rest.strip()
        yield addressee, token
