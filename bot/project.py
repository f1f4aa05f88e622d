"""`Project`: the tracker's numbers as last heard, and since when it does not answer."""

import asyncio
import logging
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from laion_protocol.client import NotATracker, TrackerClient
from laion_protocol.errors import TrackerError
from laion_protocol.messages import Stats

from .state_file import StateFile

log = logging.getLogger(__name__)

#: seconds to wait for the numbers: a person is looking at "thinking…"
PATIENCE = 6.0
#: seconds between two writes of the last known numbers
SAVE_EVERY = 60.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known of the project. `down_since` is set while the tracker does not answer."""

    stats: Stats | None = None
    down_since: datetime | None = None

    def to_the_minute(self) -> "Snapshot":
        """The same with its age in whole minutes, so that equal numbers make equal cards."""
        if self.stats is None:
            return self
        minute = self.stats.time.replace(second=0, microsecond=0)
        return replace(self, stats=self.stats.model_copy(update={"time": minute}))


class Project:
    """Asks the tracker, one question at a time however many people ask."""

    def __init__(
        self, tracker: TrackerClient, file: StateFile[Stats], *, patience: float = PATIENCE
    ) -> None:
        self._tracker, self._file, self._patience = tracker, file, patience
        self.latest = Snapshot(file.load())
        self._asking = asyncio.Lock()
        self._answered_at = float("-inf")
        self._saved_at = float("-inf")

    async def refresh(self) -> Snapshot:
        """The numbers of now, or the last known ones with `down_since`; never raises for the
        tracker's sake, and takes `patience` seconds at most after the question before it."""
        asked_at = time.monotonic()
        async with self._asking:
            if self._answered_at >= asked_at:
                return self.latest  # the question before was answered while this one waited
            try:
                async with asyncio.timeout(self._patience):
                    stats = await self._tracker.stats()
            except (TrackerError, NotATracker, TimeoutError) as error:
                self._note_down(error)
            else:
                self._note_up(stats)
            self._answered_at = time.monotonic()
            return self.latest

    def _note_down(self, error: Exception) -> None:
        if self.latest.down_since is None:
            log.warning("the tracker does not answer: %s", error or type(error).__name__)
            self.latest = replace(self.latest, down_since=datetime.now(UTC))

    def _note_up(self, stats: Stats) -> None:
        if self.latest.down_since is not None:
            log.info("the tracker answers again")
        self.latest = Snapshot(stats)
        if time.monotonic() - self._saved_at >= SAVE_EVERY:
            self._file.save(stats)
            self._saved_at = time.monotonic()
