"""`cooling_until`: how long a worker whose jobs all fail has to wait.

The queue writes down which attempts a worker is to blame for. Here it is judged, so that what was
the tracker's own fault can be left out when it is known.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from laion_protocol import Outcome

from .queue import Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """From the `failures`-th failure in a row on, a worker waits; each time twice as long."""

    failures: int = 3
    first: timedelta = timedelta(minutes=5)
    most: timedelta = timedelta(hours=6)


PATIENCE: Final = Patience()


def cooling_until(
    failures: Iterable[Failure],
    excused: Callable[[datetime], bool],
    patience: Patience = PATIENCE,
) -> datetime | None:
    """When the worker may have the next job; None if it may at any time.

    Args:
        failures: in order of time, since its last accepted result.
        excused: whether what ended at that time was the tracker's fault.
        patience: with whom we have how much.
    """
    counted: list[Failure] = []
    for failure in failures:
        if excused(failure.ended_at):
            continue
        # A machine that goes to sleep loses all its leases: that is one failure, not eight. But
        # each rejected shard counts: it was made, and handed in.
        once = not counted or failure.leased_at >= counted[-1].ended_at
        if once or failure.outcome is Outcome.INVALID:
            counted.append(failure)
    over = len(counted) - patience.failures
    if over < 0:
        return None
    return counted[-1].ended_at + min(patience.first * (1 << min(over, 30)), patience.most)
