"""Run a stage ahead of its consumer: keep its crew busy, hold a bounded number of items."""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from ..samples import Dropped

#: Items pulled for each one yielded while the crew has room: above one, so that its backlog grows
#: to the bound; small, so that a slow source delays a finished item little.
PULLS_PER_YIELD = 4

T = TypeVar("T", contravariant=True)
R = TypeVar("R", covariant=True)
Item = TypeVar("Item")
Result = TypeVar("Result")


class Crew(Protocol[T, R]):
    """Threads or processes that turn each item they are given into exactly one result."""

    def has_room(self) -> bool:
        """Whether one more item may be given now."""

    def give(self, item: T) -> None:
        """Hand one item in."""

    def is_ready(self) -> bool:
        """Whether `take` would return at once."""

    def take(self) -> R | None:
        """The next result, in whatever order they come; None when the crew was told to stop."""


def run_ahead(
    items: Iterable[Item | Dropped], crew: Crew[Item, Result]
) -> Iterator[Result | Dropped]:
    """Yield the crew's result for each item, and what was dropped before as it is.

    Pulls from `items` in the caller's thread, and only while the crew has room.
    """
    source = iter(items)
    held = 0
    exhausted = False
    while not exhausted or held:
        pulls = 0
        while not exhausted and crew.has_room():
            if pulls >= PULLS_PER_YIELD and crew.is_ready():
                break
            pulls += 1
            try:
                item = next(source)
            except StopIteration:
                exhausted = True
                break
            if isinstance(item, Dropped):
                yield item
            else:
                crew.give(item)
                held += 1
        if held:
            result = crew.take()
            if result is None:
                return
            held -= 1
            yield result
        elif not pulls:
            return  # no room though nothing is held: the crew was told to stop
