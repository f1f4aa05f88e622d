"""`Selections`: which jobs an admin means by a filter, and taking back just those.

A search answers with a token: the moment of the search and a hash of its filter. It stands for the
jobs that the filter meant at that moment. Nothing is stored for it, since a job that has changed
tells so itself: its lease, its last heartbeat or its death is later than that moment.
"""

import asyncio
import fnmatch
import hashlib
import json
import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Self

from redis.asyncio import Redis

from laion_protocol import Conflict, InvalidRequest, NotFound
from laion_protocol.messages import JobFilter
from laion_protocol.states import JobState

from . import job_views, keys, replies
from .ids import JobRef
from .job_queue import JobQueue
from .reader import to_milliseconds
from .records import Crawl, FoundJob, Seen, Verdict
from .scripts import Script

_LOOKED_AT: Final = 500  #: jobs in one script, which nothing else can interrupt
_GOOD_FOR: Final = timedelta(minutes=15)
_TOKEN: Final = re.compile(r"([0-9a-f]{1,12})-([0-9a-f]{1,10})-([0-9a-f]{8})-([0-9a-f]{16})")
#: the structures that hold the jobs of a state
_STRUCTURES: Final = {
    JobState.LEASED: ("beats",),
    JobState.VERIFYING: ("verifying",),
    JobState.PENDING: ("retry", "score"),
    JobState.DEAD: ("dead",),
}
_CAN_BE_REQUEUED: Final = (JobState.LEASED, JobState.DEAD)


@dataclass(slots=True, frozen=True)
class Token:
    """What stands for the jobs that a search found."""

    as_of: datetime  #: by Redis's clock
    total: int
    nonce: str

    @classmethod
    def new(cls, as_of: datetime, total: int) -> Self:
        """For a search of that moment."""
        return cls(as_of, total, secrets.token_hex(4))

    @classmethod
    def parse(cls, text: str, filter: JobFilter) -> Self:
        """The token, if it was made for this filter.

        Raises:
            InvalidRequest: it was not, or is none.
        """
        match = _TOKEN.fullmatch(text)
        if match is not None:
            token = cls(replies.to_time(int(match[1], 16)), int(match[2], 16), match[3])
            if token.text(filter) == text:
                return token
        raise InvalidRequest("this selection is not of that filter; search again with the filter")

    def text(self, filter: JobFilter) -> str:
        """As it stands in messages."""
        start = f"{to_milliseconds(self.as_of):x}-{self.total:x}-{self.nonce}"
        said = filter.model_dump_json(exclude_none=True)
        return f"{start}-{hashlib.sha256(f'{start} {said}'.encode()).hexdigest()[:16]}"


@dataclass(slots=True, frozen=True)
class Found:
    """What a search answers."""

    total: int
    jobs: tuple[FoundJob, ...]  #: longest silent, or longest in their state, first
    as_of: datetime
    selection: str  #: '' when these jobs cannot be taken back


@dataclass(slots=True, frozen=True)
class Taken:
    """What became of a selection."""

    selected: int
    verdicts: dict[JobRef, Verdict]
    left: int  #: not tried yet


class Selections:
    """Searches the jobs of all crawls, and requeues what a search found."""

    def __init__(self, redis: Redis, queue: JobQueue) -> None:
        self._redis = redis
        self._queue = queue

    async def search(self, filter: JobFilter, limit: int) -> Found:
        """The jobs that `filter` means now; `limit` of them are told in full.

        Raises:
            NotFound: no such crawl.
        """
        sweep = _Sweep(self._redis, self._queue, filter, None)
        matches = [job async for job in sweep.jobs()]
        rows = await self._rows(_first_of_each(matches, limit))
        rows = [row for row in rows if row.state is filter.state]  # others changed meanwhile
        rows.sort(key=lambda row: row.beat_at or row.since)
        selection = ""
        if matches and filter.state in _CAN_BE_REQUEUED:
            selection = Token.new(sweep.as_of, len(matches)).text(filter)
        return Found(len(matches), tuple(rows[:limit]), sweep.as_of, selection)

    def check(self, filter: JobFilter, selection: str) -> Token:
        """What a search of this filter answered.

        Raises:
            InvalidRequest: it did not, or nobody can requeue jobs of that state.
        """
        token = Token.parse(selection, filter)
        if filter.state not in _CAN_BE_REQUEUED:
            raise InvalidRequest(
                f"{filter.state} jobs cannot be requeued, but leased and dead ones"
            )
        return token

    async def requeue(
        self, filter: JobFilter, selection: str, reason: str, *, most: int, action: str
    ) -> Taken:
        """Take back `most` of the jobs that a search found and that are as it saw them.

        Raises:
            InvalidRequest: the selection is of another filter, or of jobs that nobody can requeue.
            Conflict: the search was too long ago.
            NotFound: the filter's crawl is gone.
        """
        token = self.check(filter, selection)
        sweep = _Sweep(self._redis, self._queue, filter, token.as_of)
        matches = [job async for job in sweep.jobs()]
        if not timedelta(0) <= sweep.now - token.as_of <= _GOOD_FOR:
            raise Conflict("this selection is over a quarter of an hour old; look again")
        verdicts = await self._queue.requeue(
            matches[:most],
            reason,
            silent_since=_silent_since(filter, token.as_of),
            seen=Seen(filter.state, token.as_of),
            action=action,
        )
        return Taken(token.total, verdicts, len(matches[most:]))

    async def _rows(self, jobs: dict[str, list[JobRef]]) -> list[FoundJob]:
        rows: list[FoundJob] = []
        for crawl, some in jobs.items():
            indexes = [job.index for job in some]
            _, found = replies.check(await _LOOK(self._redis, keys.meta(crawl), *indexes), crawl)
            rows += [job_views.to_found(row, crawl) for row in found]
        return rows


def action_of(selection: str) -> str:
    """The id of the action that takes this selection: the same, however often it is sent."""
    return hashlib.sha256(f"action {selection}".encode()).hexdigest()[:16]


class _Sweep:
    """One walk over the jobs that a filter means, as of a moment (None: now)."""

    def __init__(
        self, redis: Redis, queue: JobQueue, filter: JobFilter, as_of: datetime | None
    ) -> None:
        self._redis, self._queue, self._filter = redis, queue, filter
        self._as_of = as_of
        self.now = replies.to_time(0)
        self._pattern = re.compile(fnmatch.translate(filter.path)) if filter.path else None

    @property
    def as_of(self) -> datetime:
        """The moment; known once the walk has begun."""
        return self._as_of or self.now

    async def jobs(self) -> AsyncIterator[JobRef]:
        """Each job once: crawl by crawl, longest silent or longest in its state first."""
        name = self._filter.crawl
        crawls = [await self._queue.crawl(name)] if name else list(await self._queue.crawls())
        for crawl in crawls:
            files = await self._files(crawl)
            seen: set[int] = set()  # a job that beats during the walk moves ahead of it
            for structure in _STRUCTURES[self._filter.state]:
                async for index in self._indexes(crawl.name, structure):
                    if index not in seen and (files is None or index // crawl.parts in files):
                        seen.add(index)
                        yield JobRef(crawl.name, index)

    async def _indexes(self, crawl: str, structure: str) -> AsyncIterator[int]:
        score, last = "", ""
        while True:
            key, look = keys.meta(crawl), (structure, self._highest(), score, last, _LOOKED_AT)
            reply = await _SELECT(self._redis, key, *look, self._conditions())
            try:
                _, now, indexes, score, last = replies.check(reply, crawl)
            except NotFound:
                return  # removed meanwhile
            self.now = replies.to_time(now)
            if self._as_of is None:  # the first slice sets the moment, and is asked for again
                self._as_of = self.now
                score, last = "", ""
                continue
            for index in indexes:
                yield index
            if not last:
                return

    def _highest(self) -> str | int:
        since = self._as_of and _silent_since(self._filter, self._as_of)
        return "+inf" if since is None else to_milliseconds(since)

    def _conditions(self) -> str:
        filter = self._filter
        given: dict[str, Any] = {
            "account": filter.account,
            "worker": filter.worker,
            "outcome": filter.outcome,
            "class": filter.failure_class,
            "message": filter.message and _lower(filter.message),
        }
        if self._as_of is not None:
            older = timedelta(seconds=filter.older_than or 0)
            given["since"] = to_milliseconds(self._as_of - older)
        return json.dumps({name: value for name, value in given.items() if value is not None})

    async def _files(self, crawl: Crawl) -> set[int] | None:
        """Which files of a crawl the pattern means; None for all. Its list is read in order, since
        it comes in blocks: jobs come in no order."""
        if self._pattern is None:
            return None
        files = set()
        for index in range(crawl.files):
            if self._pattern.match(await self._queue.path(crawl.name, index)):
                files.add(index)
            if index % 1_000 == 0:
                await asyncio.sleep(0)  # heartbeats go on meanwhile
        return files


def _silent_since(filter: JobFilter, as_of: datetime) -> datetime | None:
    if filter.silent_for is None:
        return None
    return as_of - timedelta(seconds=filter.silent_for)


def _first_of_each(jobs: list[JobRef], limit: int) -> dict[str, list[JobRef]]:
    """The first `limit` of each crawl: the first of all are among them."""
    by_crawl: dict[str, list[JobRef]] = {}
    for job in jobs:
        some = by_crawl.setdefault(job.crawl, [])
        if len(some) < limit:
            some.append(job)
    return by_crawl


def _lower(text: str) -> str:
    """As Lua's `string.lower`, which knows ASCII only."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)


_SELECT, _LOOK = Script("select"), Script("look")
