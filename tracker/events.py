"""`EventLog`: the feed of events, read from the crawls' streams.

Each crawl has a stream of its own, written by the scripts that change its jobs. The feed merges
them by time. A cursor says how far each crawl was read: `CC-MAIN-2026-43=1760000000000-0,…`; a
crawl that it does not name is new to the reader and is read from its beginning.
"""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic import ValidationError
from redis.asyncio import Redis

from laion_protocol import InvalidRequest
from laion_protocol.events import EVENT, Event

from .queue import keys

BEGINNING: Final = "0"
_MAX_CURSOR: Final = 16_384  #: characters; HTTP servers take no longer header lines
_POSITION: Final = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._-]{0,63})=(0|[1-9][0-9]{0,15})-(0|[1-9][0-9]{0,15})"
)

log = logging.getLogger(__name__)

#: a stream entry's id: milliseconds, and a number within them
Position = tuple[int, int]


@dataclass(slots=True, frozen=True)
class LoggedEvent:
    """An event and the cursor that continues after it (the SSE `id:`)."""

    cursor: str
    event: Event


class EventLog:
    """Reads what the queue's scripts publish."""

    def __init__(self, redis: Redis, *, poll_interval: timedelta = timedelta(seconds=0.5)) -> None:
        """Use `redis`, made with `decode_responses=True`; the caller closes it."""
        self._redis = redis
        self._poll_seconds = poll_interval.total_seconds()

    async def end(self) -> str:
        """The cursor after all that has happened until now."""
        crawls = await self._crawls()
        async with self._redis.pipeline(transaction=False) as pipeline:
            for crawl in crawls:
                pipeline.xrevrange(keys.events(crawl), count=1)
            streams = await pipeline.execute()
        ends = {
            crawl: _position(entries[0][0]) if entries else (0, 0)
            for crawl, entries in zip(crawls, streams, strict=True)
        }
        return _format(ends)

    async def read(self, cursor: str, limit: int = 100) -> tuple[LoggedEvent, ...]:
        """The next events after `cursor`, oldest first, at most `limit`; "0" is the beginning.

        Events that were trimmed before they were read are left out.

        Raises:
            InvalidRequest: the cursor is none of ours.
        """
        positions, crawls = _parse(cursor), await self._crawls()
        # what is gone from the set of crawls need not be carried on
        positions = {crawl: positions[crawl] for crawl in crawls if crawl in positions}
        while entries := await self._entries(positions, crawls, limit):
            events = []
            for position, crawl, text in entries:
                positions[crawl] = position
                event = _to_event(position, crawl, text)
                if event is not None:
                    events.append(LoggedEvent(_format(positions), event))
            if events:
                return tuple(events)
        return ()

    async def tail(self, cursor: str | None = None) -> AsyncIterator[LoggedEvent]:
        """Events as they happen, for ever: after `cursor`, or from now on without one.

        Raises:
            InvalidRequest: the cursor is none of ours.
        """
        if cursor is None:
            cursor = await self.end()
        while True:
            events = await self.read(cursor)
            for event in events:
                yield event
                cursor = event.cursor
            if not events:
                await asyncio.sleep(self._poll_seconds)

    async def _entries(
        self, positions: dict[str, Position], crawls: list[str], limit: int
    ) -> list[tuple[Position, str, str]]:
        """The next entries of all streams by time: position, crawl, JSON."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for crawl in crawls:
                ms, number = positions.get(crawl, (0, 0))
                pipeline.xrange(keys.events(crawl), min=f"({ms}-{number}", count=limit)
            streams = await pipeline.execute()
        entries = sorted(
            (_position(entry_id), crawl, fields["event"])
            for crawl, stream in zip(crawls, streams, strict=True)
            for entry_id, fields in stream
        )
        return entries[:limit]

    async def _crawls(self) -> list[str]:
        return sorted(map(str, await self._redis.smembers(keys.CRAWLS)))


def _parse(cursor: str) -> dict[str, Position]:
    if cursor in ("", BEGINNING):
        return {}
    if len(cursor) > _MAX_CURSOR:
        raise InvalidRequest("the event cursor is too long; start without one")
    positions = {}
    for part in cursor.split(","):
        match = _POSITION.fullmatch(part)
        if match is None:
            raise InvalidRequest(f"{part[:100]!r} is no part of an event cursor; start without one")
        positions[match[1]] = (int(match[2]), int(match[3]))
    return positions


def _format(positions: dict[str, Position]) -> str:
    parts = (f"{crawl}={ms}-{number}" for crawl, (ms, number) in sorted(positions.items()))
    return ",".join(parts) or BEGINNING


def _position(entry_id: str) -> Position:
    ms, number = entry_id.split("-")
    return int(ms), int(number)


def _to_event(position: Position, crawl: str, text: str) -> Event | None:
    time = datetime.fromtimestamp(position[0] / 1000, UTC)
    try:
        return EVENT.validate_python({**json.loads(text), "crawl": crawl, "time": time})
    except ValidationError:  # of a newer tracker beside this one
        log.warning("crawl %s has an event that this version does not know: %s", crawl, text)
        return None
