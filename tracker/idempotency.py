"""`Answers`: the first answer to an act, for whoever sends it again under the same key.

{audit}:answer:HASH   string   JSON by the hash of actor and key: request (its hash), and call
                               (who does it) while it is under way; once it was answered:
                               status, type, body; for a day, a refusal for ten minutes
{audit}:acts:ACCOUNT  zset     the HASHes of its last acts, rising; the answers of older ones are
                               taken away
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from laion_protocol import Conflict, Unavailable

from .cancelled import is_cancelled
from .queue.scripts import Script, new_call

log = logging.getLogger(__name__)

_DAY: Final = timedelta(hours=24)
#: A refusal did nothing: it is kept for a client that tries again, not for one that comes back.
_REFUSED: Final = timedelta(minutes=10)
#: An act whose process has not said for so long that it goes on was cut off; it may be tried again.
_UNDER_WAY: Final = timedelta(minutes=2)
_RENEWED_EVERY: Final = timedelta(seconds=30)
_MOST: Final = 2**20
#: Of how many acts of one account the answers are known, unless `begin` is told another number.
_KNOWN: Final = 100
_BEGIN: Final = Script("act_begin", "tracker.identity")
_MARK: Final = Script("act_mark", "tracker.identity")
_END: Final = Script("act_end", "tracker.identity")
_ROOT: Final = "{audit}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered. `body` None: it held a secret, or was too long to keep."""

    status: int
    type: str
    body: str | None


@dataclass(frozen=True, slots=True)
class Act:
    """One request under a key, as `begin` opened it."""

    actor: str
    hash: str
    request: str
    call: str
    most: int

    @property
    def key(self) -> str:
        """Where its mark lies, and later its answer."""
        return f"{_ROOT}:answer:{self.hash}"

    @property
    def mark(self) -> str:
        """What lies under its key while it is under way."""
        return json.dumps({"request": self.request, "call": self.call})


class Answers:
    """Keeps them for 24 hours, and of one account no more than its last acts'."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis

    async def begin(
        self, actor: str, key: str, request: bytes, *, most: int = _KNOWN
    ) -> Act | Answer:
        """The first answer, if there is one; else an act, to be given to `end` or `forget`.

        Args:
            most: of so many acts of this account the answers are known; the oldest go first.

        Raises:
            Conflict: the key was used for another request.
            Unavailable: the same request is under way.
        """
        act = Act(
            actor,
            _hash(actor.encode(), key.encode()),
            _hash(actor.encode(), request),
            new_call(),
            most,
        )
        said = await self._run(_BEGIN, act, act.mark, _UNDER_WAY)
        if said[0] == "begun":
            return act
        text = said[1]
        known = json.loads(text)
        if known["request"] != act.request:
            raise Conflict("this idempotency key was used for another request; take a new one")
        if "status" not in known:
            raise Unavailable("the same request is under way; ask again", retry_after=1)
        return Answer(known["status"], known["type"], known["body"])

    @asynccontextmanager
    async def under_way(self, act: Act) -> AsyncIterator[None]:
        """Nobody else begins the act while this lasts, however long it takes."""
        renewing = asyncio.create_task(self._renew(act))
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.wait({renewing})

    async def _renew(self, act: Act) -> None:
        while not is_cancelled():
            await asyncio.sleep(_RENEWED_EVERY.total_seconds())
            try:
                await self._run(_MARK, act, act.mark, _UNDER_WAY)
            except RedisError as error:
                log.warning("an act that is under way cannot be marked as such: %s", error)

    async def _run(self, script: Script, act: Act, text: str, lasts: timedelta) -> Any:
        ms = int(lasts.total_seconds() * 1000)
        return await script(self._redis, _ROOT, act.actor, act.hash, act.most, text, ms)

    async def end(self, act: Act, answer: Answer) -> None:
        """The act was done, or refused for good: from now on this is its answer."""
        body = answer.body
        if body is not None and len(body) > _MOST:
            body = None
        kept = {
            "request": act.request, "status": answer.status, "type": answer.type, "body": body,
        }  # fmt: skip
        lasts = _REFUSED if answer.status >= 400 else _DAY
        await self._run(_END, act, json.dumps(kept), lasts)

    async def forget(self, act: Act) -> None:
        """The act had no effect; it may be tried again under the same key."""
        await self._run(_MARK, act, act.mark, timedelta(0))


def _hash(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()
