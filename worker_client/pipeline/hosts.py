"""`HostQueues`: in which order waiting requests may start, so that no host is crowded."""

import heapq
from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Host(Generic[T]):
    name: str
    waiting: deque[T] = field(default_factory=deque)
    active: int = 0
    not_before: float = 0.0
    listed: bool = False  # stands in `_ready` or `_resting`: in one of them, once


class HostQueues(Generic[T]):
    """Items queued by host: at most `per_host` active of each, `delay` between two starts.

    Hosts take turns, so that one with a thousand items does not hold up the others. Times are
    monotonic seconds, given by the caller.
    """

    def __init__(self, per_host: int, delay: float) -> None:
        self._per_host = per_host
        self._delay = delay
        self._hosts: dict[str, _Host[T]] = {}
        self._ready: deque[_Host[T]] = deque()
        self._resting: list[tuple[float, str]] = []  # heap of (time, host name)

    def add(self, name: str, item: T, *, first: bool = False) -> None:
        """Queue an item; `first` puts one that is already under way before its host's others."""
        host = self._hosts.setdefault(name, _Host(name))
        if first:
            host.waiting.appendleft(item)
        else:
            host.waiting.append(item)
        self._list(host)

    def start(self, now: float) -> T | None:
        """The next item that may start now, counted as active from here on; None without one."""
        while self._resting and self._resting[0][0] <= now:
            host = self._hosts[heapq.heappop(self._resting)[1]]
            self._ready.append(host)
        while self._ready:
            host = self._ready.popleft()
            if host.not_before > now:
                heapq.heappush(self._resting, (host.not_before, host.name))
                continue
            host.listed = False
            if not host.waiting:  # listed only to be forgotten once its rest is over
                if not host.active:
                    del self._hosts[host.name]
                continue
            item = host.waiting.popleft()
            host.active += 1
            host.not_before = now + self._delay
            self._list(host)
            return item
        return None

    def done(self, name: str, *, started: bool = True) -> None:
        """Note that an item of the host is no longer active.

        One that was not `started` after all, because no request was sent, costs no rest.
        """
        host = self._hosts[name]
        if not started:
            host.not_before -= self._delay
        host.active -= 1
        self._list(host)
        if not host.active and not host.listed:
            host.listed = True
            self._ready.append(host)

    def next_start(self) -> float | None:
        """When the next host has rested, or None when none rests."""
        return self._resting[0][0] if self._resting else None

    def _list(self, host: _Host[T]) -> None:
        if host.waiting and host.active < self._per_host and not host.listed:
            host.listed = True
            self._ready.append(host)
