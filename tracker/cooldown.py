"""`cooling_until`: how long a worker whose jobs all fail has to wait, or an account.

The queue writes down which attempts a worker is to blame for. Here it is judged, so that what was
the tracker's own fault can be left out when it is known.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
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
#: A name fails three times and then waits alone: three bad machines of ten stop nobody else, and
#: a bad client that renames itself is known by its fourth name.
WITH_ACCOUNT: Final = Patience(failures=10)

Excused = Callable[[datetime], bool]


def cooling_until(
    failures: Iterable[Failure], excused: Excused, patience: Patience = PATIENCE
) -> datetime | None:
    """When the worker may have the next job; None if it may at any time.

    Args:
        failures: in order of time, since its last accepted result.
        excused: whether what ended at that time was the tracker's fault.
        patience: with whom we have how much.
    """
    return _end_of_wait(_counted(failures, excused), patience)


def account_cooling_until(failures: Iterable[Failure], excused: Excused) -> datetime | None:
    """When any worker of an account may have the next job; None if they may at any time.

    Args:
        failures: of all its workers in order of time, since one of them had a result accepted.
        excused: whether what ended at that time was the tracker's fault.
    """
    by_worker = defaultdict(list)
    for failure in failures:
        by_worker[failure.worker].append(failure)
    counted: list[Failure] = []
    for theirs in by_worker.values():
        counted += _counted(theirs, excused)[: PATIENCE.failures]
    return _end_of_wait(_without_shared_outage(sorted(counted)), WITH_ACCOUNT)


def _counted(failures: Iterable[Failure], excused: Excused) -> list[Failure]:
    counted: list[Failure] = []
    for failure in failures:
        if excused(failure.ended_at):
            continue
        # A machine that goes to sleep loses all its leases: that is one failure, not eight. But
        # each rejected shard counts: it was made, and handed in.
        once = not counted or failure.leased_at >= counted[-1].ended_at
        if once or failure.outcome is Outcome.INVALID:
            counted.append(failure)
    return counted


def _without_shared_outage(failures: Iterable[Failure]) -> list[Failure]:
    """A home without power loses the leases of all its machines: that is one failure, too."""
    counted: list[Failure] = []
    silent_since: datetime | None = None
    for failure in failures:
        if failure.outcome is Outcome.EXPIRED:
            if silent_since is not None and failure.leased_at < silent_since:
                continue
            silent_since = failure.ended_at
        counted.append(failure)
    return counted


def _end_of_wait(counted: Sequence[Failure], patience: Patience) -> datetime | None:
    over = len(counted) - patience.failures
    if over < 0:
        return None
    return counted[-1].ended_at + min(patience.first * (1 << min(over, 30)), patience.most)
