"""`check_store`: do these jobs and these shards belong together?

Redis says which shards wait for a check; whoever checks one must have its files. A tracker on the
same Redis with another store would find nothing and reject honest work, so the store holds a random
id, and Redis holds the id of the store that it was first used with.
"""

import os
import re
import secrets
from pathlib import Path
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from laion_protocol import StorageFull, Unavailable

from .identity import address_key, take_address_key
from .place import CannotServe
from .redis_check import masked
from .shard_store import ShardStore

_ID_FILE: Final = "store-id"
_ADDRESS_KEY: Final = "address.key"
STORE_KEY: Final = "{store}:id"
_ID: Final = re.compile(r"[0-9a-f]{32}")


async def share_address_key(store: ShardStore, data: Path) -> None:
    """All machines on one store know an address by the same word: by the key of the first.

    Raises:
        CannotServe: the store has none, and takes none.
    """
    try:
        own = address_key(data)
        key = bytes.fromhex(await store.once(_ADDRESS_KEY, own.hex()))
        if key != own:
            take_address_key(data, key)
    except (OSError, ValueError, StorageFull, Unavailable) as error:
        raise CannotServe(
            f"{store}/{_ADDRESS_KEY} or {data / _ADDRESS_KEY} cannot be written or read ({error})",
            os.EX_UNAVAILABLE,
        ) from error


async def check_store(redis: Redis, redis_url: str, store: ShardStore) -> None:
    """Redis's jobs have their shards in `store`; the first to ask makes it so.

    Raises:
        CannotServe: they have them elsewhere, or it cannot be told.
    """
    where = f"{store}/store-id"
    try:
        name = await store.once(_ID_FILE, secrets.token_hex(16))
    except (OSError, UnicodeDecodeError, StorageFull) as error:
        raise CannotServe(
            f"{where} cannot be written or read ({error})", os.EX_CANTCREAT
        ) from error
    except Unavailable as error:
        raise CannotServe(
            f"{store} does not answer, or refuses the key; see the log", os.EX_UNAVAILABLE
        ) from error
    if not _ID.fullmatch(name):
        raise CannotServe(
            f"{where} holds no store id (32 hex digits); write the value of the key {STORE_KEY} of "
            "Redis into it",
            os.EX_CONFIG,
        )
    try:
        await redis.set(STORE_KEY, name, nx=True)
        known = await redis.get(STORE_KEY)
    except RedisError as error:
        raise CannotServe(f"Redis refuses to write: {error}", os.EX_UNAVAILABLE) from error
    if known != name:
        raise CannotServe(
            f"the shards of Redis at {masked(redis_url)} lie elsewhere than in {store}; start with "
            "that place as --data or --store, or choose another --redis-url",
            os.EX_CONFIG,
        )
