"""`Heartbeat`: keeps a lease alive while the work in its block goes on."""

import asyncio
import random
from types import TracebackType
from typing import Final, Self

from laion_protocol import Forbidden, LeaseLost, NotFound, TrackerError, Unauthorized
from laion_protocol.client import NotATracker, TrackerClient
from laion_protocol.messages import Heartbeat as Beat
from laion_protocol.messages import HeartbeatAnswer, Lease

from .meter import Meter
from .news import News
from .patience import retry_after
from .progress import Report

#: Seconds until the next try when the tracker did not answer, at most: it may be back any moment,
#: and the lease lasts five beats.
_RETRY = 15.0
#: What the volunteer is told of a directive; the tracker's own reason follows.
_SENTENCES: Final = {
    "continue": "",
    "pause": "the tracker asks for a pause",
    "drain": "the tracker asks to finish this job, and gives no other",
}


class Heartbeat:
    """An `async with` block that beats every `lease.heartbeat_seconds`.

    When the lease is lost, the block is cancelled and leaves with `LeaseLost`; when the token is,
    with `Unauthorized` or `Forbidden`. A tracker that is away changes nothing: the work goes on.
    While the tracker asks for a pause, the meter holds the pipeline.
    """

    def __init__(
        self, client: TrackerClient, lease: Lease, meter: Meter, report: Report, news: News
    ) -> None:
        self._client = client
        self._lease = lease
        self._meter = meter
        self._report = report
        self._news = news
        self._lost: TrackerError | None = None
        self._told = ("continue", "")
        self._away = False

    async def __aenter__(self) -> Self:
        owner = asyncio.current_task()
        assert owner is not None, "a heartbeat belongs to a task"
        self._owner = owner
        self._cancelling = owner.cancelling()
        self._beats = asyncio.create_task(self._beat_on(), name=f"heartbeat {self._lease.job}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._beats.cancel()
        try:
            await self._beats
        except asyncio.CancelledError:
            if self._owner.cancelling() > self._cancelling and self._lost is None:
                raise  # not that of the beats, but our own task's
        if self._lost is None:
            return
        ours = self._owner.uncancel() <= self._cancelling  # else the volunteer stops the worker
        if ours and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise self._lost from None

    async def _beat_on(self) -> None:
        wait = self._lease.heartbeat_seconds
        while True:
            await asyncio.sleep(wait * random.uniform(0.9, 1))
            wait = self._lease.heartbeat_seconds
            try:
                answer = await self._client.heartbeat(
                    self._lease.lease_id, Beat(progress=self._meter.progress()), patience=0
                )
            except (LeaseLost, NotFound, Unauthorized, Forbidden) as error:
                self._lose(error)
                return
            except (TrackerError, NotATracker) as error:
                wait = min(wait, retry_after(error) or _RETRY)
                if not self._away:
                    self._report.say(f"the work goes on without the tracker for now: {error}")
                self._away = True
                continue
            if self._away:
                self._report.say("the tracker is back")
            self._away = False
            self._obey(answer)

    def _obey(self, answer: HeartbeatAnswer) -> None:
        self._news.tell(answer.announcements)
        told = (answer.directive, answer.message)
        if told != self._told:
            if sentence := _SENTENCES[answer.directive]:
                self._report.say(f"{sentence}: {answer.message}" if answer.message else sentence)
            elif answer.message:
                self._report.say(f"the tracker says: {answer.message}")
        self._told = told
        may_run = self._meter.may_run
        if answer.directive == "pause":
            may_run.clear()
        elif not may_run.is_set():
            self._report.say("going on")
            may_run.set()

    def _lose(self, error: TrackerError) -> None:
        self._lost = error if not isinstance(error, NotFound) else LeaseLost(str(error))
        self._owner.cancel()
