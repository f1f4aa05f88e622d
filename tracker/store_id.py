"""`check_store`: do these jobs and these shards belong together?

Redis says which shards wait for a check; whoever checks one must have its files. A tracker on the
same Redis with another directory would find nothing and reject honest work, so the directory holds
a random id, and Redis holds the id of the directory that it was first used with.
"""

import os
import re
import secrets
from pathlib import Path
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from .place import CannotServe, kept_once
from .redis_check import masked

STORE_FILE: Final = "store-id"
STORE_KEY: Final = "{store}:id"
_ID: Final = re.compile(r"[0-9a-f]{32}")


async def check_store(redis: Redis, redis_url: str, data: Path) -> None:
    """Redis's jobs have their shards in `data`; the first to ask makes it so.

    Raises:
        CannotServe: they have them elsewhere, or it cannot be told.
    """
    path = data / STORE_FILE
    try:
        store = kept_once(path, secrets.token_hex(16))
    except (OSError, UnicodeDecodeError) as error:
        raise CannotServe(f"{path} cannot be written or read ({error})", os.EX_CANTCREAT) from error
    if not _ID.fullmatch(store):
        raise CannotServe(
            f"{path} holds no store id (32 hex digits); write the value of the key {STORE_KEY} of "
            "Redis into it",
            os.EX_CONFIG,
        )
    try:
        await redis.set(STORE_KEY, store, nx=True)
        known = await redis.get(STORE_KEY)
    except RedisError as error:
        raise CannotServe(f"Redis refuses to write: {error}", os.EX_UNAVAILABLE) from error
    if known != store:
        raise CannotServe(
            f"the shards of Redis at {masked(redis_url)} lie in another directory than {data}; "
            "start with that one as --data, or choose another --redis-url",
            os.EX_CONFIG,
        )
