"""A card as plain text: what a terminal shows of the same data that Discord gets."""

from collections.abc import Sequence
from datetime import UTC, datetime

from laion_protocol.events import Event
from laion_protocol.messages import Stats

from .cards import Card, Line, Moment, Strong, duration, status_card
from .project import Snapshot


def render_text(
    stats: Stats | None, recent_events: Sequence[Event], *, now: datetime | None = None
) -> str:
    """The status card for a terminal, without Discord."""
    return card_text(status_card(Snapshot(stats), recent_events), now or datetime.now(UTC))


def card_text(card: Card, now: datetime) -> str:
    """Any card for a terminal; times are told relative to `now`."""
    lines = [card.title, "=" * len(card.title)]
    for block in card.blocks:
        lines += ["", *(_text(line, now) for line in block)]
    return "\n".join(lines)


def _text(line: Line, now: datetime) -> str:
    parts = []
    for span in line:
        match span:
            case Moment():
                ago = now - span.at
                parts.append("just now" if ago.total_seconds() < 1 else f"{duration(ago)} ago")
            case Strong():
                parts.append(span.text)
            case str():
                parts.append(span)
    return "".join(parts)
