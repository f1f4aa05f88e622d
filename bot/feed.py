"""`Feed`: follows the tracker's events from a stored cursor. Knows nothing of Discord."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from laion_protocol.backoff import full_jitter
from laion_protocol.client import NotATracker, TrackerClient
from laion_protocol.errors import InvalidRequest, TrackerError
from laion_protocol.events import Event
from laion_protocol.message import Message

from .state_file import StateFile

log = logging.getLogger(__name__)

#: events kept to be shown; a card has room for a handful of lines that sum them up
RECENT = 50
#: seconds between two writes of the cursor; after a crash the events of one are read again
SAVE_EVERY = 1.0


class FeedState(Message):
    """The last event seen and the latest ones, kept together so that they agree."""

    cursor: str | None = None
    recent: tuple[Annotated[Event, Field(discriminator="type")], ...] = ()


class Feed:
    """The latest events, oldest first, over restarts of the bot and of the tracker."""

    def __init__(
        self, tracker: TrackerClient, file: StateFile[FeedState], *, longest_wait: float = 60.0
    ) -> None:
        self._tracker, self._file, self._longest_wait = tracker, file, longest_wait
        state = file.load() or FeedState()
        self.cursor = state.cursor
        self._recent: deque[Event] = deque(state.recent, maxlen=RECENT)
        self._saved_cursor = state.cursor
        self._saved_at = 0.0
        self._away = False

    @property
    def recent(self) -> tuple[Event, ...]:
        """The latest events, oldest first."""
        return tuple(self._recent)

    async def follow(self) -> None:
        """Follow the feed until cancelled; reconnects with back-off when it breaks off."""
        waits = self._fresh_waits()
        try:
            while True:
                before = self.cursor
                try:
                    await self._read()
                except InvalidRequest as error:
                    log.warning("the tracker does not know the feed's cursor: %s", error)
                    self.cursor = None
                except (TrackerError, NotATracker) as error:
                    self._note_away(error)
                if self.cursor != before:
                    waits = self._fresh_waits()
                self._save()
                await asyncio.sleep(next(waits))
        finally:
            self._save()

    def _fresh_waits(self) -> Iterator[float]:
        return full_jitter(base=min(1.0, self._longest_wait), cap=self._longest_wait)

    async def _read(self) -> None:
        async for event_id, event in self._tracker.events(self.cursor):
            if self._away:
                log.info("the tracker's event feed is back")
                self._away = False
            self.cursor = event_id
            self._recent.append(event)
            if time.monotonic() - self._saved_at >= SAVE_EVERY:
                self._save()

    def _note_away(self, error: Exception) -> None:
        # once an outage, not once a try
        if not self._away:
            log.warning("the tracker's event feed is away, trying on: %s", error)
        self._away = True

    def _save(self) -> None:
        if self.cursor == self._saved_cursor:
            return
        self._file.save(FeedState(cursor=self.cursor, recent=self.recent))
        self._saved_cursor, self._saved_at = self.cursor, time.monotonic()
