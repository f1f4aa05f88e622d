"""`back_up` and `restore`: all that Redis knows, in one file.

The file has jobs, accounts, credits, events and the audit log. It has no shards: those lie in the
store, and a copy of it is made after the backup. Then each accepted job of the backup has its shard
in the copy, and whatever was handed in later is done once more.
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from .backup_file import BackupWriter, BrokenBackup, check, rows, written
from .memory import free_memory, mib
from .place import CannotServe
from .private_redis import PrivateRedisFailed
from .redis_check import redis_memory
from .redis_cluster import Cluster
from .redis_copy import CopyRefused, NoRoom, copied
from .schema import CURRENT, RESTORING, SCHEMA_KEY

_PART: Final = 1_000  #: elements of a value in one line
_AT_ONCE: Final = 200  #: lines in one pipeline
_TEXT: Final[dict[str, Any]] = {"decode_responses": True, "encoding_errors": "surrogateescape"}


async def back_up(redis: Redis, path: Path, *, replace: bool = False) -> int:
    """Write the file; say how many keys are in it. Trackers may go on working meanwhile.

    A file that is there already is kept, unless it is to `replace`.

    Raises:
        CannotServe: it cannot be done; the message says why.
    """
    try:
        schema = await redis.get(SCHEMA_KEY)
        if schema is None or not str(schema).isdigit():
            raise CannotServe(
                "this Redis holds no tracker's data, or is half restored; check --data and "
                "--redis-url",
                os.EX_DATAERR,
            )
        await _check_memory(redis)
        count = 0
        # The file first: that it cannot be written is known before anything is copied.
        with written(path, str(schema), replace=replace) as writer:
            async with copied(redis) as urls:
                for url in urls:
                    async with Redis.from_url(url, **_TEXT) as copy:
                        cursor = None
                        while cursor != 0:
                            cursor, keys = await copy.scan(cursor or 0, count=_AT_ONCE)
                            await _write_keys(copy, list(map(str, keys)), writer)
                            count += len(keys)
        return count
    except FileExistsError as error:
        raise CannotServe(
            f"{path} is there already; name another file, or replace it with --force",
            os.EX_CANTCREAT,
        ) from error
    except CopyRefused as error:
        raise CannotServe(
            f"Redis lets nobody copy it ({error}); give this user the right to SYNC, or use the "
            "snapshots of whoever runs it",
            os.EX_NOPERM,
        ) from error
    except NoRoom as error:
        raise CannotServe(
            f"the copy of Redis cannot be written to {error}; name a larger directory with TMPDIR",
            os.EX_CANTCREAT,
        ) from error
    except PrivateRedisFailed as error:
        raise CannotServe(f"the copy of Redis cannot be read: {error}", os.EX_SOFTWARE) from error
    except RedisError as error:
        raise CannotServe(f"Redis gave no copy: {error}", os.EX_UNAVAILABLE) from error
    except FileNotFoundError as error:
        raise CannotServe(
            f"{path} cannot be written: its directory is not there", os.EX_CANTCREAT
        ) from error
    except OSError as error:
        raise CannotServe(
            f"{path} cannot be written ({error.strerror})", os.EX_CANTCREAT
        ) from error


async def _check_memory(redis: Redis) -> None:
    """A machine without the memory for the copy would end something else than the backup."""
    needed, free = (await redis_memory(redis)).used, free_memory()
    if free is not None and free < needed:
        raise CannotServe(
            f"a backup needs the memory of a second copy, {mib(needed)}, and this machine has "
            f"{mib(free)} left; free some, or make it on another machine with --redis-url",
            os.EX_OSERR,
        )


async def restore(redis: Redis, path: Path) -> int:
    """Fill an empty Redis with what the file holds; say how many lines that was.

    Raises:
        CannotServe: the file is broken, or Redis is not empty, and nothing was done; or Redis went
            away in the middle, and no tracker starts on it until it is emptied and filled again.
    """
    try:
        head = check(path)
    except BrokenBackup as error:
        raise CannotServe(f"{path} cannot be restored: {error}", os.EX_DATAERR) from error
    except OSError as error:
        raise CannotServe(f"{path} cannot be read ({error.strerror})", os.EX_NOINPUT) from error
    schema = str(head["schema"])
    if int(schema) > CURRENT:
        raise CannotServe(
            f"{path} is of version {schema}, and this tracker knows {CURRENT}; use the newer one",
            os.EX_CONFIG,
        )
    try:
        if await _keys(redis):
            raise CannotServe(
                "this Redis is not empty, and a backup is restored into an empty one only; choose "
                "another --data or --redis-url",
                os.EX_CONFIG,
            )
        await redis.set(SCHEMA_KEY, RESTORING)
        count = 0
        pipeline = redis.pipeline(transaction=False)
        for row in rows(path):
            if row["key"] != SCHEMA_KEY:
                _restore_line(pipeline, row)
                count += 1
            if count % _AT_ONCE == 0:
                await pipeline.execute()
        await pipeline.execute()
        await redis.set(SCHEMA_KEY, schema)
        return count
    except RedisError as error:
        raise CannotServe(
            f"Redis went away or refused in the middle ({error}); empty it, then restore again",
            os.EX_UNAVAILABLE,
        ) from error


async def _keys(redis: Redis) -> int:
    servers = await redis.masters() if isinstance(redis, Cluster) else [redis]
    return sum([int(await server.dbsize()) for server in servers])


async def _write_keys(copy: Any, keys: list[str], writer: BackupWriter) -> None:
    async with copy.pipeline(transaction=False) as pipeline:
        pipeline.time()
        for key in keys:
            pipeline.type(key)
            pipeline.pttl(key)
            pipeline.hlen(key)  # an error for other types
        (seconds, micros), *told = await pipeline.execute(raise_on_error=False)
        now = int(seconds) * 1000 + int(micros) // 1000
        whole = [key for key, n in zip(keys, told[2::3], strict=True) if _is_small(n)]
        for key in whole:
            pipeline.hgetall(key)
        hashes = dict(zip(whole, await pipeline.execute(), strict=True))
    for key, kind, left in zip(keys, told[::3], told[1::3], strict=True):
        expires = now + int(left) if left >= 0 else None
        if left == -2:
            continue  # it expired
        if key in hashes:  # nearly all keys are: the jobs
            writer.add(key, "hash", expires, list(hashes[key].items()))
            continue
        async for part in _PARTS[kind](copy, key):
            writer.add(key, kind, expires, part)


def _is_small(fields: Any) -> bool:
    return isinstance(fields, int) and 0 < fields <= _PART


async def _string(copy: Any, key: str) -> AsyncIterator[Any]:
    yield await copy.get(key)


async def _hash(copy: Any, key: str) -> AsyncIterator[Any]:
    cursor = None
    while cursor != 0:
        cursor, found = await copy.hscan(key, cursor or 0, count=_PART)
        if found:
            yield list(found.items())


async def _set(copy: Any, key: str) -> AsyncIterator[Any]:
    cursor = None
    while cursor != 0:
        cursor, found = await copy.sscan(key, cursor or 0, count=_PART)
        if found:
            yield list(found)


async def _zset(copy: Any, key: str) -> AsyncIterator[Any]:
    cursor = None
    while cursor != 0:
        cursor, found = await copy.zscan(key, cursor or 0, count=_PART)
        if found:
            # repr keeps every bit of a double
            yield [(member, repr(float(score))) for member, score in found]


async def _list(copy: Any, key: str) -> AsyncIterator[Any]:
    start = 0
    while found := await copy.lrange(key, start, start + _PART - 1):
        yield found
        start += _PART


async def _stream(copy: Any, key: str) -> AsyncIterator[Any]:
    start = "-"
    while found := await copy.xrange(key, min=start, count=_PART):
        yield [
            (entry, [part for item in fields.items() for part in item]) for entry, fields in found
        ]
        start = f"({found[-1][0]}"
    # also of entries that were trimmed: cursors of readers must not come to life again
    yield (await copy.xinfo_stream(key))["last-generated-id"]


_PARTS: Final = {
    "string": _string, "hash": _hash, "set": _set, "zset": _zset, "list": _list, "stream": _stream,
}  # fmt: skip


def _restore_line(pipeline: Any, row: dict[str, Any]) -> None:
    key, value = row["key"], row["value"]
    match row["type"]:
        case "string":
            pipeline.set(key, value)
        case "hash":
            pipeline.hset(key, items=[part for item in value for part in item])
        case "set":
            pipeline.sadd(key, *value)
        case "zset":
            pipeline.execute_command("ZADD", key, *(part for m, s in value for part in (s, m)))
        case "list":
            pipeline.rpush(key, *value)
        case "stream" if isinstance(value, str):
            # a stream may have lost all its entries, and is there all the same
            pipeline.execute_command("XGROUP", "CREATE", key, "restored", "$", "MKSTREAM")
            pipeline.execute_command("XGROUP", "DESTROY", key, "restored")
            pipeline.execute_command("XSETID", key, value)
        case "stream":
            for entry, fields in value:
                pipeline.execute_command("XADD", key, entry, *fields)
    if row["expires"] is not None:
        pipeline.pexpireat(key, row["expires"])
