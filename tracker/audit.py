"""`Audit`: who changed what, and what was refused, on a Redis stream."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

from redis.asyncio import Redis

from laion_protocol import TrackerError
from laion_protocol.messages import AuditRow

from .accounts import Caller

_KEY: Final = "{audit}:rows"
#: About a hundred megabytes of rows; older ones are dropped.
_MAX_ROWS: Final = 200_000


class Audit:
    """Rows are written after the call, with its result; a refused call is a row too."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    @asynccontextmanager
    async def row(
        self, caller: Caller, action: str, target: str, *, reason: str = "", result: str = "ok"
    ) -> AsyncIterator[None]:
        """Note that `caller` did `action` to `target`; or was refused, if that is raised."""
        try:
            yield
        except TrackerError as error:
            await self.write(caller, action, target, reason=reason, result=error.code.value)
            raise
        await self.write(caller, action, target, reason=reason, result=result)

    async def write(
        self, caller: Caller, action: str, target: str, *, reason: str = "", result: str
    ) -> None:
        """Note one call."""
        row = AuditRow(
            time=datetime.fromtimestamp(time.time(), UTC),
            actor=caller.account,
            via=caller.act or "",
            action=action,
            target=target[:2000],
            reason=reason,
            result=result,
        )
        fields: dict[Any, Any] = json.loads(row.model_dump_json())
        await self._redis.xadd(_KEY, fields, maxlen=_MAX_ROWS, approximate=True)

    async def rows(self, limit: int) -> tuple[AuditRow, ...]:
        """The last `limit` rows, newest first."""
        found: Any = await self._redis.xrevrange(_KEY, count=limit)
        return tuple(AuditRow.model_validate(fields) for _, fields in found)
