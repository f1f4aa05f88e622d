"""`tracker dedupe show | rebuild`: which pairs the project takes for known."""

import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import click

from laion_protocol.messages import DedupeState

from .output import Answer, prints, table
from .session import to_tracker

_LOOK: Final = 0.5


@click.group()
def dedupe() -> None:
    """Look at the files that tell new pairs from known ones, or make them anew."""


@dedupe.command()
@prints
@to_tracker
def show(call: Callable[..., Any]) -> Answer:
    """Filters, reservations, and what workers were told."""
    state = call(lambda client: client.dedupe_state())
    return Answer(state, _lines(state))


@dedupe.command()
@click.option("--no-wait", is_flag=True, help="Return when it has begun.")
@prints
@to_tracker
def rebuild(no_wait: bool, call: Callable[..., Any]) -> Answer:
    """Read the pairs of all accepted shards again, on the machine of this tracker, which is the
    one that answers workers from then on.

    Run it after Redis was restored from a backup, after the files were lost, and when shards were
    checked on other machines. Workers are served meanwhile.
    """
    call(lambda client: client.rebuild_dedupe())
    state: DedupeState = call(lambda client: client.dedupe_state())
    while state.busy and not no_wait:
        time.sleep(_LOOK)
        state = call(lambda client: client.dedupe_state())
    return Answer(state, _lines(state))


def _lines(state: DedupeState) -> Iterable[str]:
    yield from table(
        ("FILTER", "PAIRS", "MADE FOR", "BYTES", "WRONGLY KNOWN"),
        [
            (number, one.held, one.capacity, one.bytes, f"{one.false_positives_now:.2e}")
            for number, one in enumerate(state.filters)
        ],
    )
    yield (
        f"{state.reserved} pairs reserved by {state.holders} attempts, in "
        f"{state.reservation_slots} slots; {state.to_commit} shards to commit"
    )
    yield (
        f"asked {state.asked}: new {state.new}, known {state.known}, taken {state.taken}; "
        f"not reserved {state.unreserved}; without any new one {state.suspicious} times; "
        f"refused {state.refused} times"
    )
    yield (
        f"committed {state.committed}, freed {state.freed}; a new pair is taken for known with "
        f"probability {state.false_positives_now:.2e}"
    )
    if state.elsewhere:
        yield f"{state.elsewhere} shards were checked elsewhere: `dedupe rebuild` makes them known"
    if not state.here:
        yield f"another machine has the files; so it stood there at {state.at:%Y-%m-%d %H:%M:%S}"
    if not state.ready:
        yield "the files were never filled: workers are told to go on without; `dedupe rebuild`"
    if state.busy:
        yield f"busy: {state.rebuilt} shards read, {state.unreadable} of them unreadable"
