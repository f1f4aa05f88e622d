"""`Audit`: who changed what, and what was refused, on Redis streams.

{audit}:rows      stream   what admins and bots did, or failed to do
{audit}:refused   stream   what somebody had no right to: of its own, so that whoever is refused
                           often enough cannot push the acts out
{audit}:last      hash     ms and number of the last row's id, in whichever of the two
{audit}:call:ID   string   what a call was answered, in case that its client sends it again
"""

import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from redis.asyncio import Redis

from laion_protocol import ErrorCode, TrackerError
from laion_protocol.messages import AuditRow

from .identity import Caller
from .queue.scripts import Script, new_call

_ROOT: Final = "{audit}"
_ACTS: Final = "rows"
_REFUSED: Final = "refused"
_NOTE: Final = Script("note", "tracker.identity")
#: About a hundred megabytes of rows; older ones are dropped.
_MAX_ROWS: Final = {_ACTS: 200_000, _REFUSED: 50_000}
_PAGE: Final = 500
_MAX_TARGET: Final = 2000  #: characters
_MAX_JSON: Final = 4000  #: characters of `before`, and of `after`
_SECRET: Final = re.compile(r"lw_([0-9a-f]{6,})_[0-9a-f]{16,}")

Json = Any


@dataclass(slots=True)
class Note:
    """What an act finds out about itself; written with its row."""

    before: Json = None  #: what it changes, as it was
    after: Json = None  #: as it is now
    result: str = "ok"


class Audit:
    """Rows are written after the call, with its result; a refused call is a row too."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis

    @asynccontextmanager
    async def row(
        self,
        caller: Caller,
        action: str,
        target: str,
        *,
        reason: str = "",
        result: str = "ok",
        before: Json = None,
        after: Json = None,
    ) -> AsyncIterator[Note]:
        """Note that `caller` did `action` to `target`; or was refused, if that is raised.

        What is only known inside, the block says to the note: `note.before = …`.
        """
        note = Note(before, after, result)
        try:
            yield note
        except TrackerError as error:
            await self.write(
                caller, action, target, reason=reason, result=error.code.value, before=note.before
            )
            raise
        await self.write(
            caller, action, target, reason=reason, result=note.result,
            before=note.before, after=note.after,
        )  # fmt: skip

    async def write(
        self,
        caller: Caller,
        action: str,
        target: str,
        *,
        reason: str = "",
        result: str,
        before: Json = None,
        after: Json = None,
    ) -> None:
        """Note one call. Tokens are blotted out wherever they stand."""
        fields = {
            "time": datetime.fromtimestamp(time.time(), UTC).isoformat(),
            "actor": caller.account,
            "via": caller.act or "",
            "action": action[:200],
            "target": target[:_MAX_TARGET],
            "reason": reason,
            "result": result,
            "before": _bounded(before),
            "after": _bounded(after),
            "key": caller.idempotency_key,
        }
        key = _REFUSED if result == ErrorCode.FORBIDDEN else _ACTS
        fields = {name: _SECRET.sub(r"lw_\1_…", text) for name, text in fields.items() if text}
        both = [text for field in fields.items() for text in field]
        await _NOTE(self._redis, _ROOT, new_call(), key, _MAX_ROWS[key], *both)

    async def rows(
        self,
        limit: int,
        *,
        actor: str | None = None,
        action: str | None = None,
        target: str | None = None,
        before: str | None = None,
    ) -> tuple[AuditRow, ...]:
        """The last `limit` rows, newest first: by this actor (or through this bot), of this
        action, with this in their target, older than the row `before`."""
        found: list[AuditRow] = []
        async for row_id, fields in self._newest(before):
            if actor is not None and actor not in (fields["actor"], fields.get("via")):
                continue
            if action is not None and action != fields["action"]:
                continue
            if target is not None and target not in fields.get("target", ""):
                continue
            found.append(_row(row_id, fields))
            if len(found) >= limit:
                break
        return tuple(found)

    async def _newest(self, before: str | None) -> AsyncIterator[tuple[str, dict[str, str]]]:
        """Both streams as one, newest first."""
        streams = [self._stream(_ACTS, before), self._stream(_REFUSED, before)]
        heads = [await anext(stream, None) for stream in streams]
        while any(heads):
            newest = max((head for head in heads if head), key=lambda head: _position(head[0]))
            at = heads.index(newest)
            heads[at] = await anext(streams[at], None)
            yield newest

    async def _stream(
        self, key: str, before: str | None
    ) -> AsyncIterator[tuple[str, dict[str, str]]]:
        if before and not any(_position(before)):
            return  # nothing is older than 0-0, which Redis calls an error
        end = f"({before}" if before else "+"
        while page := await self._redis.xrevrange(f"{_ROOT}:{key}", max=end, count=_PAGE):
            for row_id, fields in page:
                yield row_id, fields
            if len(page) < _PAGE:
                return
            end = f"({page[-1][0]}"


def _position(row_id: str) -> tuple[int, ...]:
    return tuple(int(part) for part in row_id.split("-"))


def _bounded(value: Json) -> str:
    if value is None:
        return ""
    text = json.dumps(value, default=str, ensure_ascii=False)
    if len(text) <= _MAX_JSON:
        return text
    return json.dumps({"characters": len(text), "begins": text[: _MAX_JSON // 2]})


def _row(row_id: str, fields: dict[str, str]) -> AuditRow:
    sides = {side: json.loads(fields[side]) for side in ("before", "after") if fields.get(side)}
    return AuditRow.model_validate({"target": "", **fields, **sides, "id": row_id})
