"""`Project`: what admins set for all crawls and all workers at once.

`{project}:state` is a hash: paused, maintenance, worker_versions (JSON each, absent when not set),
announced (the last announcement's number) and announcement:N (JSON).
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from packaging.version import InvalidVersion, Version
from redis.asyncio import Redis
from redis.exceptions import RedisError

from laion_protocol import Conflict, InvalidRequest, NotFound
from laion_protocol.message import Message
from laion_protocol.messages import (
    Announcement,
    Maintenance,
    NewAnnouncement,
    Pause,
    ProjectState,
    WorkerVersions,
)

_M = TypeVar("_M", bound=Message)

_STATE: Final = "{project}:state"
#: Every lease and every heartbeat asks; Redis is asked once in so many seconds.
_FRESH: Final = 1.0
#: Each heartbeat's answer carries all of them.
MAX_ANNOUNCEMENTS: Final = 5
MAX_MAINTENANCE: Final = timedelta(days=30)
#: Redis's clock (seconds, microseconds) and the state, in one round trip on the key's node.
_READ: Final = "return { redis.call('TIME'), redis.call('HGETALL', KEYS[1]) }"


class Project:
    """One of these a process. Others see a change within a second, its own process at once."""

    def __init__(self, redis: Redis) -> None:
        """Use `redis`, made with `decode_responses=True`; the caller closes it."""
        self._redis: Any = redis  # its types allow bytes in every answer; this client decodes
        self._lock = asyncio.Lock()
        self._state = ProjectState()
        self._clock_ahead = 0.0  # Redis's clock minus our monotonic one, seconds
        self._read_at = -_FRESH

    async def state(self) -> ProjectState:
        """As it is now, at most a second old. What is over is left out."""
        if time.monotonic() - self._read_at >= _FRESH:
            async with self._lock:  # many who ask at once are answered by one reading
                if time.monotonic() - self._read_at >= _FRESH:
                    await self._refresh()
        return _without_past(self._state, self._now())

    async def now(self) -> datetime:
        """Redis's clock, which all trackers share."""
        await self.state()
        return self._now()

    async def pause(self, pause: Pause) -> ProjectState:
        """Hand out no jobs until `resume`."""
        return await self._set("paused", pause)

    async def resume(self) -> ProjectState:
        """Hand out jobs again; safe to repeat."""
        return await self._set("paused", None)

    async def rest(self, maintenance: Maintenance) -> ProjectState:
        """Hand out no jobs until a time.

        Raises:
            InvalidRequest: the time is over, or further off than `MAX_MAINTENANCE`.
        """
        now = await self.now()
        if not now < maintenance.until <= now + MAX_MAINTENANCE:
            raise InvalidRequest(
                f"until: give a time within the next {MAX_MAINTENANCE.days} days, not "
                f"{maintenance.until.isoformat(' ', 'minutes')}; for longer, pause the project"
            )
        return await self._set("maintenance", maintenance)

    async def end_rest(self) -> ProjectState:
        """End the maintenance now; safe to repeat."""
        return await self._set("maintenance", None)

    async def require(self, versions: WorkerVersions) -> ProjectState:
        """Say which worker versions get jobs.

        Raises:
            InvalidRequest: one is no version, or the recommended one is below the least.
        """
        least, recommended = _parse("least", versions.least), versions.recommended
        if recommended is not None and _parse("recommended", recommended) < least:
            raise InvalidRequest(f"recommended: {recommended} is below the least, {versions.least}")
        return await self._set("worker_versions", versions)

    async def require_none(self) -> ProjectState:
        """Every worker version gets jobs; safe to repeat."""
        return await self._set("worker_versions", None)

    async def announce(self, new: NewAnnouncement) -> Announcement:
        """Tell every worker something, once.

        Raises:
            Conflict: as many announcements are out as there may be.
            InvalidRequest: its time is over.
        """
        await self._read()
        now = self._now()
        if new.until is not None and new.until <= now:
            raise InvalidRequest(f"until: {new.until.isoformat(' ', 'minutes')} is over")
        current = {shown.id for shown in _without_past(self._state, now).announcements}
        if len(current) >= MAX_ANNOUNCEMENTS:
            raise Conflict(f"{len(current)} announcements are out already; withdraw one first")
        over = {shown.id for shown in self._state.announcements} - current
        if over:
            await self._redis.hdel(_STATE, *map(_field, over))
        number = await self._redis.hincrby(_STATE, "announced", 1)
        announcement = Announcement(id=number, text=new.text, until=new.until)
        await self._redis.hset(_STATE, _field(number), announcement.model_dump_json())
        await self._read()
        return announcement

    async def withdraw(self, number: int) -> None:
        """Tell it to no more workers.

        Raises:
            NotFound: there is none of that number.
        """
        if not await self._redis.hdel(_STATE, _field(number)):
            raise NotFound(f"there is no announcement {number}")
        await self._read()

    async def _set(self, field: str, message: Message | None) -> ProjectState:
        if message is None:
            await self._redis.hdel(_STATE, field)
        else:
            await self._redis.hset(_STATE, field, message.model_dump_json())
        await self._read()
        return _without_past(self._state, self._now())

    async def _refresh(self) -> None:
        """What was known is good enough while Redis is slow: a heartbeat that got through must not
        fail for it, nor wait in a row with all others."""
        try:
            await self._read()
        except RedisError:
            if not self._clock_ahead:  # nothing was ever known
                raise
            self._read_at = time.monotonic()

    async def _read(self) -> None:
        asked_at = time.monotonic()
        (seconds, microseconds), pairs = await self._redis.eval(_READ, 1, _STATE)
        fields = dict(zip(pairs[::2], pairs[1::2], strict=True))
        shown = [text for field, text in fields.items() if field.startswith("announcement:")]
        rows = sorted(map(Announcement.model_validate_json, shown), key=lambda row: row.id)
        self._state = ProjectState(
            paused=_loaded(Pause, fields.get("paused")),
            maintenance=_loaded(Maintenance, fields.get("maintenance")),
            worker_versions=_loaded(WorkerVersions, fields.get("worker_versions")),
            announcements=tuple(rows),
        )
        self._clock_ahead = int(seconds) + int(microseconds) / 1e6 - asked_at
        self._read_at = asked_at

    def _now(self) -> datetime:
        return datetime.fromtimestamp(time.monotonic() + self._clock_ahead, UTC)


def is_version(text: str) -> bool:
    """Whether `text` is a version as PEP 440 writes them."""
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def _parse(field: str, text: str) -> Version:
    if not is_version(text):
        raise InvalidRequest(f"{field}: {text!r} is no version; they look like 1.2.0")
    return Version(text)


def _loaded(kind: type[_M], text: str | None) -> _M | None:
    return None if text is None else kind.model_validate_json(text)


def _without_past(state: ProjectState, now: datetime) -> ProjectState:
    changes: dict[str, object] = {}
    if state.maintenance is not None and state.maintenance.until <= now:
        changes["maintenance"] = None
    shown = tuple(row for row in state.announcements if row.until is None or row.until > now)
    if len(shown) < len(state.announcements):
        changes["announcements"] = shown
    return state.model_copy(update=changes) if changes else state


def _field(number: int) -> str:
    return f"announcement:{number}"
