"""Cards for Discord: markdown with every name escaped, within Discord's limits."""

import re

import discord
from discord import ui

from .cards import Card, Line, Moment, Strong

# Discord's documented limits, characters
MAX_CONTENT = 2000
MAX_TEXT = 4000  # of all text displays of one Components V2 message together
_MORE = "…"


def layout(card: Card, *, marker: int | None = None) -> ui.LayoutView:
    """The card as a Components V2 message; `marker` is the container's id, to know it again."""
    container: ui.Container[ui.LayoutView] = ui.Container(
        accent_colour=discord.Colour(card.tone.value), id=marker
    )
    title = f"## {plain(card.title)}"
    container.add_item(ui.TextDisplay(title))
    left = MAX_TEXT - len(title)
    for block in card.blocks:
        text = _fit([markdown(line) for line in block], left)
        if not text:
            break
        container.add_item(ui.Separator(visible=False))
        container.add_item(ui.TextDisplay(text))
        left -= len(text)
    view = ui.LayoutView(timeout=None)
    view.add_item(container)
    return view


def content(card: Card) -> str:
    """The card as the text of an ordinary message."""
    lines = [f"**{plain(card.title)}**"]
    for block in card.blocks:
        lines += [markdown(line) for line in block]
    return _fit(lines, MAX_CONTENT)


def markdown(line: Line) -> str:
    """One line; only `Strong` and `Moment` bring form."""
    parts = []
    for span in line:
        match span:
            case Moment():
                parts.append(discord.utils.format_dt(span.at, "R"))
            case Strong():
                parts.append(f"**{plain(span.text)}**")
            case str():
                parts.append(plain(span))
    return "".join(parts)


def plain(text: str) -> str:
    """Text that Discord shows as it is: no form, no mention, no link, no emoji, one line."""
    one_line = re.sub(r"\s*[\r\n]+\s*", " ", text)
    # in one pass, because discord.utils.escape_markdown leaves "<" and some of the rest alone:
    # mentions, <t:…> times and custom emoji open with "<"; a masked link needs "]("
    escaped = re.sub(r"[\\*_`~|<>\[\]#]|^\s*[-+]", r"\\\g<0>", one_line)
    return escaped.replace("@", "@\u200b").replace("://", ":\u200b//")


def _fit(lines: list[str], budget: int) -> str:
    """As many whole lines as fit into `budget` characters, and a mark where some are missing."""
    text = "\n".join(lines)
    while len(text) > budget:
        if not lines:
            return ""
        lines = lines[:-1]
        text = "\n".join([*lines, _MORE])
    return text
