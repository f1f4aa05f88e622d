"""Data of another version of the tracker."""

import asyncio
import os

import pytest

from laion_protocol.messages import NewCrawl
from tests.tracker.running import RECIPE
from tests.tracker.test_serve import fails
from tracker import schema
from tracker.place import CannotServe
from tracker.queue import JobQueue
from tracker.schema import CURRENT, SCHEMA_KEY, ensure_schema


@pytest.fixture
async def first_version(redis):
    """Leases of three accounts, as the first version of the tracker left them."""
    queue = JobQueue(redis, max_held_account=2000)
    await queue.add(NewCrawl(name="A", base="/x", paths=("a",), parts=1300, recipe=RECIPE))

    async def lease(account):
        for number in range(400):
            await queue.lease("A", account, f"pc{number}")

    await asyncio.gather(*(lease(f"ann{number}") for number in range(3)))
    for number in range(3):
        await redis.delete(f"crawl:{{A}}:held:ann{number}")
    return queue


async def held(redis):
    return [len(await redis.smembers(f"crawl:{{A}}:held:ann{number}")) for number in range(3)]


async def test_an_empty_redis_is_of_this_version(redis):
    await ensure_schema(redis)
    assert await redis.get(SCHEMA_KEY) == str(CURRENT)


async def test_trackers_that_start_at_once_migrate_once(redis, first_version, monkeypatch):
    ran = []
    migrate = schema._to_2

    async def counted(*args):
        ran.append(args)
        await migrate(*args)

    monkeypatch.setitem(schema._MIGRATIONS, 2, counted)
    await asyncio.gather(*(ensure_schema(redis) for _ in range(5)))
    assert len(ran) == 1
    assert await held(redis) == [400, 400, 400]
    assert await redis.get(SCHEMA_KEY) == str(CURRENT)
    await ensure_schema(redis)
    assert len(ran) == 1


async def test_a_migration_that_was_cut_off_is_done_again(redis, first_version, monkeypatch):
    monkeypatch.setattr(schema, "_LOCKED_MS", 200)
    broken = asyncio.Event()

    async def cut_off(*_):
        broken.set()
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setitem(schema._MIGRATIONS, 2, cut_off)
        with pytest.raises(asyncio.CancelledError):
            await ensure_schema(redis)
    assert broken.is_set()
    assert await redis.get(SCHEMA_KEY) is None
    await ensure_schema(redis)
    assert all(await held(redis))


async def test_who_waits_too_long_for_another_tracker_says_so(redis, first_version):
    await redis.set("{store}:migrating", "another")
    with pytest.raises(CannotServe, match="another tracker is bringing"):
        await ensure_schema(redis, patience=0.2)


async def test_data_of_a_newer_tracker_is_refused_and_left_alone(redis, redis_url, tmp_path):
    await redis.set(SCHEMA_KEY, CURRENT + 1)
    status, sentence = await fails(tmp_path, "--redis-url", redis_url)
    assert status == os.EX_CONFIG
    assert f"is of version {CURRENT + 1}, and this tracker knows {CURRENT}" in sentence
    assert await redis.keys("{accounts}*") == []
