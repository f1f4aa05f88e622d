"""`Home`: which directory of dedupe files is the project's, where several machines have one.

The files are one machine's. Another one that answered from its own, empty ones would tell every
worker that all is new. So Redis names the directory whose answers count, by an id that lies in it:
the first that was asked, until a rebuild makes another one the home. All others say that they
cannot tell.

`{dedupe}:home` is a hash: id (of the directory); former (the directory that was it before, as long
as the first rebuild at this one is not done); state (`DedupeState`, JSON, as it told it last);
elsewhere (shards that were ever checked by others, whose pairs only a rebuild makes known); known
(how many of those the last rebuild made known).
"""

import asyncio
import secrets
import time
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from redis.asyncio import Redis

from laion_protocol.messages.dedupe import DedupeState
from tracker.place import kept_once

_KEY: Final = "{dedupe}:home"
_FILE: Final = "id"
#: Seconds for which an answer of Redis is believed.
_BELIEVED: Final = 10.0

# KEYS 1 _KEY; ARGV 1 this directory's id. All are safe to repeat.
_TAKE: Final = """
local now = redis.call('HGET', KEYS[1], 'id')
if now and now ~= ARGV[1] then
  redis.call('HSET', KEYS[1], 'former', now)
end
redis.call('HSET', KEYS[1], 'id', ARGV[1])
return redis.call('HEXISTS', KEYS[1], 'former')
"""
_GIVE_BACK: Final = """
local former = redis.call('HGET', KEYS[1], 'former')
if not former or redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'id', former)
redis.call('HDEL', KEYS[1], 'former')
return 1
"""
# ARGV 2 shards
_KNOWN: Final = """
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'known', ARGV[2])
redis.call('HDEL', KEYS[1], 'former')
return 1
"""


class Home:
    """As one process knows it. Every method may raise `RedisError` or `OSError`."""

    def __init__(self, redis: Redis, directory: Path) -> None:
        """Use `redis`, made with `decode_responses=True`; the caller closes it."""
        self._redis: Any = redis
        self._directory = directory
        self._id: str | None = None
        self._here = False
        self._looked = -_BELIEVED

    async def is_here(self, believed: float = _BELIEVED) -> bool:
        """Whether this directory is it, as Redis said in the last `believed` seconds; it becomes it
        if there is none."""
        if time.monotonic() - self._looked >= believed:
            mine = await self._own_id()
            known = await self._redis.hget(_KEY, "id")
            if known is None:
                await self._redis.hsetnx(_KEY, "id", mine)
                known = await self._redis.hget(_KEY, "id")
            self._here = known == mine
            self._looked = time.monotonic()
        return self._here

    async def is_elsewhere(self) -> bool:
        """Whether another directory is it; asking changes nothing."""
        known = await self._redis.hget(_KEY, "id")
        return known is not None and known != await self._own_id()

    async def take(self) -> bool:
        """Make this directory it; whether there is a former one, see `give_back`."""
        had = await self._redis.eval(_TAKE, 1, _KEY, await self._own_id())
        self._here, self._looked = True, time.monotonic()
        return bool(had)

    async def give_back(self) -> bool:
        """Make the former directory it again; False if there is none, or a third one took it."""
        given = await self._redis.eval(_GIVE_BACK, 1, _KEY, await self._own_id())
        self._looked = -_BELIEVED
        return bool(given)

    async def tell(self, state: DedupeState) -> None:
        """How the files stand, for all machines to know."""
        await self._redis.hset(_KEY, "state", state.model_dump_json())

    async def told(self) -> DedupeState | None:
        """How they stood some seconds ago; None if nobody ever said."""
        text = await self._redis.hget(_KEY, "state")
        try:
            return DedupeState.model_validate_json(text) if text else None
        except ValidationError:  # by another version of the tracker
            return None

    async def missed(self, shards: int = 1) -> None:
        """Shards are accepted whose pairs do not reach the files."""
        await self._redis.hincrby(_KEY, "elsewhere", shards)

    async def missed_ever(self) -> int:
        """Shards that were ever missed; only grows."""
        return int(await self._redis.hget(_KEY, "elsewhere") or 0)

    async def known_now(self, shards: int) -> bool:
        """The first so many that were missed are known here, and there is no way back to the former
        directory; False, and nothing is changed, if another one took it meanwhile."""
        return bool(await self._redis.eval(_KNOWN, 1, _KEY, await self._own_id(), shards))

    async def elsewhere(self) -> int:
        """Shards that were missed since the last rebuild."""
        missed, known = await self._redis.hmget(_KEY, "elsewhere", "known")
        return max(0, int(missed or 0) - int(known or 0))

    async def _own_id(self) -> str:
        if self._id is None:
            self._id = await asyncio.to_thread(self._read_id)
        return self._id

    def _read_id(self) -> str:
        self._directory.mkdir(parents=True, exist_ok=True)
        return kept_once(self._directory / _FILE, secrets.token_hex(16))
