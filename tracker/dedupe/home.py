"""`Home`: which directory of dedupe files is the project's, where several machines have one.

The files are one machine's. Another one that answered from its own, empty ones would tell every
worker that all is new. So Redis names the directory whose answers count, by an id that lies in it:
the first that was asked, until a rebuild makes another one the home. All others say that they
cannot tell.

`{dedupe}:home` is a hash: id (of the directory); state (`DedupeState`, JSON, as it told it last);
elsewhere (shards that were checked by others, whose pairs only a rebuild makes known).
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


class Home:
    """As one process knows it. Every method may raise `RedisError` or `OSError`."""

    def __init__(self, redis: Redis, directory: Path) -> None:
        """Use `redis`, made with `decode_responses=True`; the caller closes it."""
        self._redis: Any = redis
        self._directory = directory
        self._id: str | None = None
        self._here = False
        self._looked = -_BELIEVED

    async def is_here(self) -> bool:
        """Whether this directory is it; it becomes it if there is none."""
        if time.monotonic() - self._looked >= _BELIEVED:
            mine = await self._own_id()
            await self._redis.hsetnx(_KEY, "id", mine)
            self._here = await self._redis.hget(_KEY, "id") == mine
            self._looked = time.monotonic()
        return self._here

    async def is_elsewhere(self) -> bool:
        """Whether another directory is it; asking changes nothing."""
        known = await self._redis.hget(_KEY, "id")
        return known is not None and known != await self._own_id()

    async def take(self) -> None:
        """Make this directory it."""
        await self._redis.hset(_KEY, "id", await self._own_id())
        self._here, self._looked = True, time.monotonic()

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

    async def missed(self) -> None:
        """A shard was accepted whose pairs do not reach the files."""
        await self._redis.hincrby(_KEY, "elsewhere", 1)

    async def known_now(self, shards: int) -> None:
        """So many of those that were missed are known by now."""
        await self._redis.hincrby(_KEY, "elsewhere", -shards)

    async def elsewhere(self) -> int:
        """Shards that were missed since the last rebuild."""
        return int(await self._redis.hget(_KEY, "elsewhere") or 0)

    async def _own_id(self) -> str:
        if self._id is None:
            self._id = await asyncio.to_thread(self._read_id)
        return self._id

    def _read_id(self) -> str:
        self._directory.mkdir(parents=True, exist_ok=True)
        return kept_once(self._directory / _FILE, secrets.token_hex(16))
