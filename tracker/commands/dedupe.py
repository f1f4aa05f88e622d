"""`tracker dedupe show | rebuild`: which pairs this tracker's machine takes for known."""

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
    """Read the pairs of all accepted shards again, on the machine of this tracker.

    Run it after Redis was restored from a backup, after the files were lost, and on a machine that
    answers workers but did not check all shards. Workers are served meanwhile.
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
        f"{state.reserved} pairs reserved by jobs, in {state.reservation_slots} slots; "
        f"{state.to_commit} shards to commit"
    )
    yield (
        f"asked {state.asked}: new {state.new}, known {state.known}, taken {state.taken}; "
        f"not reserved {state.unreserved}; without any new one {state.suspicious} times"
    )
    if state.busy:
        yield f"busy: {state.rebuilt} shards read, {state.unreadable} of them unreadable"
