"""`Watcher`: follows the tracker's events, and knows which jobs changed hands."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field

from laion_protocol import Outcome, Unavailable
from laion_protocol.client import TrackerClient
from laion_protocol.events import AttemptLost, Event, ShardAccepted

#: the feed broke off: the tracker is restarting, or closing
RECONNECT_SECONDS = 0.5


@dataclass
class Watcher:
    """Everything that has happened, oldest first."""

    events: list[Event] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def follow(self, tracker: TrackerClient, *, after: str) -> None:
        """Take in events until cancelled."""
        while True:
            try:
                async for event_id, event in tracker.events(after):
                    after = event_id
                    self.events.append(event)
                    self._news.set()
            except Unavailable:
                await asyncio.sleep(RECONNECT_SECONDS)

    async def news(self, within: float) -> None:
        """Return at the next event, or after that many seconds."""
        self._news.clear()
        try:
            async with asyncio.timeout(within):
                await self._news.wait()
        except TimeoutError:
            return

    def accepted(self) -> int:
        """How many shards were accepted."""
        return sum(isinstance(event, ShardAccepted) for event in self.events)

    def expired(self, account: str) -> list[str]:
        """The jobs whose lease this account let run out."""
        return [
            event.job
            for event in self.events
            if isinstance(event, AttemptLost)
            and event.outcome is Outcome.EXPIRED
            and event.account == account
        ]

    def done_by(self, job: str) -> str | None:
        """The account whose shard of this job was accepted."""
        for event in self.events:
            if isinstance(event, ShardAccepted) and event.job == job:
                return event.account
        return None

    def reassigned(self) -> int:
        """How many jobs one worker let expire and another one did."""
        lost = defaultdict(set)
        for event in self.events:
            if isinstance(event, AttemptLost) and event.outcome is Outcome.EXPIRED:
                lost[event.job].add((event.account, event.worker))
        return sum(
            event.job in lost and (event.account, event.worker) not in lost[event.job]
            for event in self.events
            if isinstance(event, ShardAccepted)
        )
