"""`Breaker`: leaves a host alone for a while once it has failed several times in a row."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from laion_protocol import DropReason

#: Hosts remembered; the longest unchanged are forgotten first. A chunk of Common Crawl names some
#: ten thousand hosts.
MAX_HOSTS: Final = 50_000


@dataclass(slots=True)
class _Record:
    failures: int
    reason: DropReason
    open_until: float  # monotonic seconds


class Breaker:
    """Counts a host's failures in a row; times are monotonic seconds."""

    def __init__(self, failures: int, pause: float) -> None:
        self._limit = failures
        self._pause = pause
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def failed(self, host: str, reason: DropReason, now: float) -> None:
        """Note that a request to the host failed without an answer worth having."""
        record = self._records.setdefault(host, _Record(0, reason, 0.0))
        record.failures += 1
        record.reason = reason
        if record.failures >= self._limit:
            record.open_until = now + self._pause
        self._records.move_to_end(host)
        if len(self._records) > MAX_HOSTS:
            self._records.popitem(last=False)

    def answered(self, host: str) -> None:
        """Note that the host answered: its failures no longer count."""
        self._records.pop(host, None)

    def verdict(self, host: str, now: float) -> DropReason | None:
        """Why the host is left alone now, or None when it may be asked.

        After the pause one more failure is enough to leave it alone again.
        """
        record = self._records.get(host)
        return record.reason if record is not None and now < record.open_until else None
