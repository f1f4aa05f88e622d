"""`Admission`: whether a worker may have a job at all; and if not, the one true reason.

The first of these that holds is the answer. The order goes from what only a person can change to
what passes by itself, so that nobody waits for an hour to hear the next reason:

    banned                an admin banned the worker or its account
    outdated              its version is below the least, and the time of grace is over
    maintenance           the project rests until a time
    paused                an admin paused the project (or: every crawl)
    draining              an admin lets the worker run dry (or: every crawl)
    cooldown              its last jobs, or those of its account, all failed by their own fault
    quota                 it, or its account, holds as many leases as one may
    storage_full          no room for another shard; what only needs scoring is still handed out,
                          since an intermediate makes room when its shard is accepted
    verification_backlog  shards come in faster than they are checked; likewise
    no_work               nothing to do for what this worker can do

Paused and draining crawls, quota and no_work are known by the queue alone: see `leasing`.
"""

import random
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from packaging.version import Version

from laion_protocol import IdleReason, Stage
from laion_protocol.messages import Idle, ProjectState, WorkerVersions

from .cooldown import account_cooling_until, cooling_until
from .project import Project, is_version
from .queue import Failures
from .settings import Settings
from .stats import Statistics
from .storage import ShardStore
from .troubles import Troubles, in_trouble

_MESSAGES: Final = {
    IdleReason.PAUSED: "an admin paused the crawl",
    IdleReason.DRAINING: "the crawl is coming to its end and hands out no more jobs",
    IdleReason.QUOTA: "this worker, or its account, holds as many leases as one may; finish or "
    "release one",
    IdleReason.STORAGE_FULL: "the tracker has no room for another shard",
    IdleReason.VERIFICATION_BACKLOG: "shards come in faster than the tracker checks them",
    IdleReason.NO_WORK: "every job is leased, being verified or done",
}
#: How much longer than without work to wait before asking again (times `idle_retry`).
_PATIENCE: Final = {
    IdleReason.BANNED: 120,
    IdleReason.OUTDATED: 120,
    IdleReason.PAUSED: 4,
    IdleReason.DRAINING: 4,
    IdleReason.STORAGE_FULL: 10,
    IdleReason.VERIFICATION_BACKLOG: 2,
}
#: An admin may end a rest or a cooldown early: nobody is sent away for longer.
_LONGEST: Final = timedelta(minutes=30)
#: How old the number of free bytes may be, seconds.
_FRESH: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Who asks for a job, and what for."""

    account: str
    worker: str
    version: str = ""
    stages: frozenset[Stage] = frozenset({Stage.HYBRID})
    banned: str | None = None  #: why
    draining: str | None = None  #: why


class Admission:
    """Judges everything but what the queue knows."""

    def __init__(
        self,
        project: Project,
        failures: Failures,
        troubles: Troubles,
        store: ShardStore,
        statistics: Statistics,
        settings: Settings,
    ) -> None:
        self._project = project
        self._failures = failures
        self._troubles = troubles
        self._store = store
        self._statistics = statistics
        self._settings = settings
        self._free_bytes = 0
        self._free_at = -_FRESH

    async def refusal(self, ask: Ask, crawls: Iterable[str]) -> Idle | None:
        """Why this worker gets no job, whatever the queue holds: `banned` to `cooldown`."""
        state = await self._project.state()
        if ask.banned is not None:
            return self.idle(IdleReason.BANNED, f"an admin banned you: {ask.banned}")
        if state.worker_versions is not None:
            versions, now = state.worker_versions, await self._project.now()
            if _is_below(ask.version, versions.least) and _is_due(versions, now):
                return self.idle(IdleReason.OUTDATED, _update(ask.version, versions))
        if state.maintenance is not None:
            rest = state.maintenance
            text = f"the project rests until {_moment(rest.until)}: {rest.reason}"
            return await self._idle_until(IdleReason.MAINTENANCE, text, rest.until)
        if state.paused is not None:
            text = f"an admin paused the project: {state.paused.reason}"
            return self.idle(IdleReason.PAUSED, text)
        if ask.draining is not None:
            return self.idle(IdleReason.DRAINING, f"this worker is to run dry: {ask.draining}")
        return await self._cooldown(ask, crawls)

    async def room(self) -> IdleReason | None:
        """Why no job may be handed out that will need room and a check; None if it may."""
        if time.monotonic() - self._free_at >= _FRESH:
            self._free_bytes = await self._store.free_bytes()
            self._free_at = time.monotonic()
        if self._free_bytes < self._settings.min_free_bytes:
            return IdleReason.STORAGE_FULL
        if await self._statistics.backlog() > self._settings.max_backlog:
            return IdleReason.VERIFICATION_BACKLOG
        return None

    def idle(self, reason: IdleReason, message: str | None = None) -> Idle:
        """The answer, with a time to come again that is not everybody's."""
        wait = self._settings.idle_retry * _PATIENCE.get(reason, 1)
        # half to one and a half of it, or a fleet that was sent away together comes back together
        seconds = wait.total_seconds() * random.uniform(0.5, 1.5)
        return Idle(reason=reason, message=message or _MESSAGES[reason], retry_after=seconds)

    async def notice(self, ask: Ask) -> str:
        """What the volunteer should do soon, although the worker still gets jobs."""
        versions = (await self._project.state()).worker_versions
        if versions is None:
            return ""
        if _is_below(ask.version, versions.least):
            return _update(ask.version, versions)
        if versions.recommended is not None and _is_below(ask.version, versions.recommended):
            return (
                f"worker {versions.recommended} is out, this is {ask.version}; update when it "
                "suits you (`pip install -U laion-worker`)"
            )
        return ""

    async def _cooldown(self, ask: Ask, crawls: Iterable[str]) -> Idle | None:
        failures, of_account = await self._failures.of(crawls, ask.account, ask.worker)
        if not failures and not of_account:
            return None
        minutes, lease = await self._troubles.minutes(), self._settings.lease_duration

        def excused(at: datetime) -> bool:
            return in_trouble(minutes, at, lease)

        now = await self._project.now()
        for who, until, last in (
            ("this worker", cooling_until(failures, excused), failures[-1:]),
            ("your workers", account_cooling_until(of_account, excused), of_account[-1:]),
        ):
            if until is not None and until > now:
                text = (
                    f"the last jobs of {who} all failed by their own fault (the last one: "
                    f"{last[0].outcome}); the next one is given at {_moment(until)}"
                )
                return await self._idle_until(IdleReason.COOLDOWN, text, until)
        return None

    async def _idle_until(self, reason: IdleReason, message: str, until: datetime) -> Idle:
        left = min(until - await self._project.now(), _LONGEST)
        # after the end, not before it; and not all in the same second
        spread = self._settings.idle_retry * 4 * random.random()
        seconds = max(0.0, (left + spread).total_seconds())
        return Idle(reason=reason, message=message, retry_after=seconds)


def _is_below(version: str, least: str) -> bool:
    """By PEP 440: 0.10 is above 0.9, and 0.9.dev1 below 0.9. What is no version is below all."""
    return not is_version(version) or Version(version) < Version(least)


def _is_due(versions: WorkerVersions, now: datetime) -> bool:
    return versions.required_after is None or versions.required_after <= now


def _update(version: str, versions: WorkerVersions) -> str:
    when = "" if versions.required_after is None else f" from {_moment(versions.required_after)} on"
    return (
        f"worker {versions.least} or newer is required{when}, this is {version}: "
        f"{versions.reason}; update with `pip install -U laion-worker`"
    )


def _moment(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def state_message(state: ProjectState) -> str:
    """What a worker that holds a job should know of the project's state; '' if nothing."""
    if state.paused is not None:
        return f"an admin paused the project: {state.paused.reason}; stop here, keep the lease"
    if state.maintenance is not None:
        rest = state.maintenance
        return (
            f"the project rests until {_moment(rest.until)}: {rest.reason}; this job may be "
            "finished, and handed in after that if it must"
        )
    return ""
