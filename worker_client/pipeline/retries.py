"""`Retries`: transfers that wait for their one further try."""

import heapq
from collections.abc import Iterator
from typing import Final

from laion_protocol import DropReason

from .transfer import Transfer

_PASSING: Final = frozenset({DropReason.DNS, DropReason.CONNECT})
_TOO_MANY_REQUESTS: Final = 429


class Retries:
    """One retry a picture: after `delay` seconds, or when the server said, and in time."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._waiting: list[tuple[float, int, Transfer]] = []  # heap by time
        self._number = 0  # tells equal times apart

    def take(self, transfer: Transfer, reason: DropReason, now: float) -> bool:
        """Keep a failed transfer for another try, if that may help and there is time left."""
        answer = transfer.answer
        when = now + (self._delay if answer.retry_after is None else answer.retry_after)
        told_when = answer.status == _TOO_MANY_REQUESTS and answer.retry_after is not None
        passing = reason in _PASSING or (
            reason is DropReason.HTTP_STATUS and (answer.status >= 500 or told_when)
        )
        assert transfer.deadline is not None, "it was started once"
        if not passing or transfer.retried or when >= transfer.deadline:
            return False
        transfer.retried = True
        self._number += 1
        heapq.heappush(self._waiting, (when, self._number, transfer))
        return True

    def due(self, now: float) -> Iterator[Transfer]:
        """Those whose time has come; they wait no more."""
        while self._waiting and self._waiting[0][0] <= now:
            yield heapq.heappop(self._waiting)[2]

    def next_due(self) -> float | None:
        """When the next one is due; None when none waits."""
        return self._waiting[0][0] if self._waiting else None
