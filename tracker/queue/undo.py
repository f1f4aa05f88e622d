"""`Actions`: what admins did to many jobs at once, and putting it back.

The script that changes a job notes in the same breath how the job was. Who acted, and why, is
written down here before, so that a tracker that dies in between leaves nothing unnamed.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from redis.asyncio import Redis

from laion_protocol import NotFound
from laion_protocol.messages import UndoVerdict

from . import keys, replies
from .ids import JobRef
from .reader import to_milliseconds
from .scripts import Script

KEPT: Final = timedelta(days=1)  #: as `lua/_requeue.lua`
_AT_ONCE: Final = 250  #: jobs in one script, which nothing else can interrupt


@dataclass(slots=True, frozen=True, kw_only=True)
class Action:
    """One bulk action."""

    id: str
    time: datetime
    actor: str
    via: str  #: the bot that acted for them
    verb: str
    reason: str
    crawls: tuple[str, ...]
    changed: int = 0  #: jobs
    undone: int = 0

    @property
    def expires(self) -> datetime:
        """Nothing of it can be undone after this."""
        return self.time + KEPT


class Actions:
    """The bulk actions of the last day."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def open(self, action: Action) -> None:
        """Write down who is about to act; safe to repeat."""
        fields: dict[Any, Any] = {
            "time": str(to_milliseconds(action.time)),
            "actor": action.actor,
            "via": action.via,
            "verb": action.verb,
            "reason": action.reason,
            "crawls": json.dumps(action.crawls),
        }
        key, time = keys.action(action.id), to_milliseconds(action.time)
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hset(key, mapping=fields)
            pipeline.expire(key, KEPT)
            pipeline.zadd(keys.ACTIONS, {action.id: time})
            pipeline.zremrangebyscore(keys.ACTIONS, "-inf", to_milliseconds(action.time - KEPT))
            await pipeline.execute()

    async def rows(self, limit: int = 100) -> tuple[Action, ...]:
        """The last ones, newest first."""
        ids: Any = await self._redis.zrevrange(keys.ACTIONS, 0, limit - 1)
        rows = []
        for id in ids:
            fields: Any = await self._redis.hgetall(keys.action(id))
            action = _to_action(id, fields) if fields else None
            if action and (action := await self._counted(action)).changed:
                rows.append(action)
        return tuple(rows)

    async def find(self, id: str) -> Action:
        """One of them.

        Raises:
            NotFound: there is none, or it is over a day old.
        """
        fields: Any = await self._redis.hgetall(keys.action(id))
        if not fields:
            raise NotFound(f"there is no action {id}; one can be undone for a day")
        return await self._counted(_to_action(id, fields))

    async def undo(self, id: str, *, dry_run: bool = False) -> dict[JobRef, UndoVerdict]:
        """Put back every job of an action that nobody has touched since; say what became of each.

        A job that was leased is leased again, by the same worker under the same lease, with as much
        time as it had left; a dead one is dead again. Safe to repeat.

        Raises:
            NotFound: there is no such action, or it is over a day old.
        """
        verdicts: dict[JobRef, UndoVerdict] = {}
        for crawl in (await self.find(id)).crawls:
            async for some in self._jobs(crawl, id):
                args = (id, "1" if dry_run else "", *some)
                reply = await _UNDO(self._redis, keys.meta(crawl), *args)
                if reply[0] == "no_crawl":
                    break
                refs = [JobRef(crawl, int(index)) for index in some]
                verdicts.update(zip(refs, reply[1], strict=True))
        return verdicts

    async def _jobs(self, crawl: str, id: str) -> AsyncIterator[list[str]]:
        indexes: Any = await self._redis.hkeys(keys.action_notes(crawl, id))
        indexes.sort(key=int)
        for start in range(0, len(indexes), _AT_ONCE):
            yield indexes[start : start + _AT_ONCE]

    async def _counted(self, action: Action) -> Action:
        changed = undone = 0
        for crawl in action.crawls:
            changed += int(await self._redis.hlen(keys.action_notes(crawl, action.id)))
            undone += int(await self._redis.scard(keys.undone(crawl, action.id)))
        return replace(action, changed=changed, undone=undone)


def _to_action(id: str, fields: dict[str, str]) -> Action:
    return Action(
        id=id,
        time=replies.to_time(fields["time"]),
        actor=fields["actor"],
        via=fields["via"],
        verb=fields["verb"],
        reason=fields["reason"],
        crawls=tuple(json.loads(fields["crawls"])),
    )


_UNDO = Script("undo")
