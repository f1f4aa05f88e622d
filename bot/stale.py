"""`StaleDesk`: an admin's two steps, look and then reassign, done at the tracker. No Discord here.

What was seen is carried from the first step to the second in a button's custom_id, so it survives
a restart of the bot, and is never trusted: the tracker asks the clicking person's own rights again,
and leaves alone every job that had a heartbeat after the first step.
"""

import base64
import binascii
import re
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, Self

from laion_protocol.client import TrackerClient
from laion_protocol.messages import DelegationRequest, JobId, OpenJob, Requeue, StaleJobs

#: most jobs in one `Requeue`, by the protocol; also asked for in one list
MAX_JOBS = 1000
#: how long a confirmation may wait
EXPIRY = timedelta(minutes=10)
#: Discord's limit on a custom_id, characters
MAX_CUSTOM_ID = 100

_JOB = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}/\d{1,12}")
_CRAWL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_EPOCH, _MICROSECOND = datetime.fromtimestamp(0, UTC), timedelta(microseconds=1)
#: invoker, issued at (s), silent since (µs), silent for (minutes, 0 = the tracker's default), shown
_STATE = struct.Struct(">QIQHH")
_ID = re.compile(r"rq:(?P<verb>[a-z]):(?P<state>[A-Za-z0-9_-]{32}):(?P<target>[A-Za-z0-9._/-]*)")

Verb = Literal["y", "n", "r"]
#: the one `template` that discord.py needs for a verb's buttons
CONFIRM, CANCEL = _ID.pattern.replace("[a-z]", "y"), _ID.pattern.replace("[a-z]", "n")


class Unusable(Exception):
    """What a person typed, or pressed, cannot be worked with; the text tells them what to do."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who acts in Discord, and in which interaction."""

    discord_id: int
    interaction_id: int


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs: one (`job`), or all stale ones, of one crawl or of all."""

    job: JobId | None = None
    crawl: str | None = None
    silent_for: timedelta | None = None

    @classmethod
    def parse(cls, which: str, crawl: str | None, silent_minutes: int | None) -> Self:
        """What `/jobs reassign` was given.

        Raises:
            Unusable: neither a job's id nor the words for all of them.
        """
        silent = None if silent_minutes is None else timedelta(minutes=silent_minutes)
        if crawl is not None and not _CRAWL.fullmatch(crawl):
            raise Unusable("That is no crawl's name; it looks like CC-MAIN-2026-43.")
        if which.strip().lower() == ALL_STALE:
            return cls(crawl=crawl, silent_for=silent)
        if not _JOB.fullmatch(which.strip()):
            raise Unusable(
                f"That is no job. Give one as CRAWL/NUMBER, e.g. CC-MAIN-2026-43/17, "
                f'or "{ALL_STALE}"; /jobs stale lists them.'
            )
        return cls(job=which.strip())


ALL_STALE = "all stale"


@dataclass(frozen=True, slots=True)
class Reassignment:
    """What one person looked at and may confirm until it expires."""

    invoker: int
    issued_at: datetime
    silent_since: datetime  #: by the tracker's clock; a later heartbeat means the job came back
    shown: int
    filter: Filter

    def custom_id(self, verb: Verb) -> str:
        """All of it, in Discord's 100 characters.

        Raises:
            Unusable: the crawl's name is too long for that.
        """
        minutes = int((self.filter.silent_for or timedelta()) / timedelta(minutes=1))
        state = _STATE.pack(
            self.invoker,
            int(self.issued_at.timestamp()),
            (self.silent_since - _EPOCH) // _MICROSECOND,
            minutes,
            self.shown,
        )
        target = self.filter.job or self.filter.crawl or ""
        text = f"rq:{verb}:{base64.urlsafe_b64encode(state).decode()}:{target}"
        if len(text) > MAX_CUSTOM_ID:
            raise Unusable(
                "That crawl's name is too long for a button; use the tracker's own command line."
            )
        return text

    @classmethod
    def parse(cls, custom_id: str, verb: Verb) -> Self | None:
        """What `custom_id` carries; None when it is another button's."""
        match = _ID.fullmatch(custom_id)
        if match is None or match["verb"] != verb or len(custom_id) > MAX_CUSTOM_ID:
            return None
        try:
            fields = _STATE.unpack(base64.urlsafe_b64decode(match["state"]))
            invoker, issued, since, minutes, shown = fields
            return cls(
                invoker,
                datetime.fromtimestamp(issued, UTC),
                _EPOCH + since * _MICROSECOND,
                shown,
                _filter(match["target"], minutes),
            )
        except (binascii.Error, struct.error, OverflowError, ValueError, OSError):
            return None

    def expired(self) -> bool:
        """Too old to be confirmed."""
        return datetime.now(UTC) - self.issued_at > EXPIRY


def _filter(target: str, minutes: int) -> Filter:
    silent = timedelta(minutes=minutes) if minutes else None
    if _JOB.fullmatch(target):
        return Filter(job=target)
    if target and not _CRAWL.fullmatch(target):
        raise ValueError(f"{target!r} is neither a job nor a crawl")
    return Filter(crawl=target or None, silent_for=silent)


@dataclass(frozen=True, slots=True)
class Preview:
    """What a reassignment would do now. Without `reassignment` there is nothing to confirm."""

    reassignment: Reassignment | None
    would: int
    total: int
    sample: tuple[OpenJob, ...]
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What a reassignment did, in numbers of jobs."""

    requeued: int
    alive: int  #: had a heartbeat since, or ended in the meantime: left alone
    unchanged: int  #: nobody held them any more
    unknown: int


class StaleDesk:
    """Acts at the tracker with the rights of the person who asks, never with the bot's."""

    def __init__(self, tracker: TrackerClient) -> None:
        self._tracker = tracker

    async def stale(self, person: Person, which: Filter, limit: int = 25) -> StaleJobs:
        """The stale jobs, silent longest first.

        Raises:
            Forbidden: this person is no admin, as far as the tracker knows.
        """
        return await self._stale(which, limit, await self._token(person))

    async def preview(self, person: Person, which: Filter) -> Preview:
        """A dry run, and what to carry to `reassign` when the person confirms it.

        Raises:
            Forbidden: this person is no admin, as far as the tracker knows.
        """
        token = await self._token(person)
        if which.job is not None:
            since, total = (await self._tracker.stats()).time, 1
            sample: tuple[OpenJob, ...] = ()
            jobs: tuple[JobId, ...] = (which.job,)
        else:
            found = await self._stale(which, MAX_JOBS, token)
            if not found.jobs:
                return Preview(None, 0, 0, (), "No job is stale.")
            sample, total = found.jobs, found.total
            jobs = tuple(job.job for job in found.jobs)
            since = max(job.last_heartbeat for job in found.jobs)
        request = Requeue(jobs=jobs, reason="dry run", dry_run=True, silent_since=since)
        answers = (await self._tracker.requeue(request, token=token)).jobs
        would = sum(answer == "requeued" for answer in answers.values())
        if not would:
            return Preview(None, 0, total, sample, _nothing(which, set(answers.values())))
        reassignment = Reassignment(person.discord_id, datetime.now(UTC), since, would, which)
        return Preview(reassignment, would, total, sample)

    async def reassign(self, person: Person, wanted: Reassignment, reason: str) -> Result:
        """Take the jobs away from silent workers, as they were silent in the preview.

        Raises:
            Forbidden: this person is no admin (any more), as far as the tracker knows.
        """
        token = await self._token(person)
        if wanted.filter.job is not None:
            jobs: tuple[JobId, ...] = (wanted.filter.job,)
        else:
            found = await self._stale(wanted.filter, MAX_JOBS, token)
            # others have become stale since; they were not shown, so they are not meant
            seen = [job.job for job in found.jobs if job.last_heartbeat <= wanted.silent_since]
            jobs = tuple(seen)
        if not jobs:
            return Result(0, wanted.shown, 0, 0)
        request = Requeue(jobs=jobs, reason=reason, silent_since=wanted.silent_since)
        answers = list((await self._tracker.requeue(request, token=token)).jobs.values())
        requeued = answers.count("requeued")
        unchanged, unknown = answers.count("unchanged"), answers.count("unknown")
        # what is no longer in the list of stale jobs had a heartbeat, or ended
        left_alone = max(answers.count("alive"), wanted.shown - requeued - unchanged - unknown)
        return Result(requeued, left_alone, unchanged, unknown)

    async def _stale(self, which: Filter, limit: int, token: str) -> StaleJobs:
        return await self._tracker.stale_jobs(
            crawl=which.crawl, silent_for=which.silent_for, limit=limit, token=token
        )

    async def _token(self, person: Person) -> str:
        request = DelegationRequest(
            discord_id=str(person.discord_id), interaction_id=str(person.interaction_id)
        )
        return (await self._tracker.delegate(request)).token


def _nothing(which: Filter, answers: set[str]) -> str:
    if which.job is None:
        return "The workers came back while you looked; no job is stale any more."
    if answers == {"unknown"}:
        return f"There is no job {which.job}; /jobs stale lists those that are stale."
    if answers == {"alive"}:
        return f"Job {which.job} is being worked on right now; nothing to do."
    return f"Job {which.job} is waiting for a worker or done; nothing to do."
