"""Sealed shards that nobody keeps are found and removed; what may be needed stays."""

import os
import time
from datetime import timedelta

import pytest

from laion_protocol import FileEntry
from laion_protocol.messages import NewCrawl, Progress
from tests.tracker.running import RECIPE
from tests.tracker.shards import make_shard
from tracker import orphans
from tracker.orphans import Orphans
from tracker.queue import JobQueue
from tracker.storage import LocalStore, shard_prefix

WEEK = timedelta(days=7)


@pytest.fixture
async def queue(redis):
    queue = JobQueue(redis, max_held=1000, max_held_account=1000)
    paths = tuple(f"{n}" for n in range(100))
    await queue.add(NewCrawl(name="A", base="/", paths=paths, recipe=RECIPE))
    return queue


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path)


async def sealed(store, tmp_path, lease_id: str, days: float = 8):
    """A sealed shard in which nothing changed for so long."""
    prefix = shard_prefix(lease_id)
    await store.seal(prefix, [FileEntry(name="x", size=1, sha256="0" * 64)])
    os.utime(tmp_path / "shards" / prefix, (time.time() - days * 86400,) * 2)
    return prefix


async def left(store):
    return {prefix async for prefix in store.sealed(-3600)}


def stranger(job: int) -> str:
    return f"A~{job}~{job:032x}"


async def test_only_old_shards_that_nobody_keeps_are_removed(queue, store, tmp_path):
    verifying = await queue.lease("A", "ann", "pc")
    await queue.complete(verifying.lease_id, "ann", make_shard(tmp_path / "s", RECIPE).manifest)
    held = await queue.lease("A", "ann", "pc")
    rejected = await queue.lease("A", "ann", "pc")
    await queue.complete(rejected.lease_id, "ann", make_shard(tmp_path / "s", RECIPE).manifest)
    await queue.reject(rejected.lease_id, "broken")
    kept = {await sealed(store, tmp_path, lease.lease_id) for lease in (verifying, held)}
    kept.add(await sealed(store, tmp_path, stranger(7), days=6))
    await sealed(store, tmp_path, rejected.lease_id)
    await sealed(store, tmp_path, stranger(8))
    assert await Orphans(queue, store, WEEK).sweep() == 2
    assert await left(store) == kept
    assert (await queue.extend(held.lease_id, "ann", Progress())).worker == "pc"


async def test_the_shards_of_a_crawl_that_redis_lost_stay(queue, store, tmp_path):
    prefix = await sealed(store, tmp_path, f"B~1~{'b' * 32}")
    (tmp_path / "shards" / "B" / "notes").mkdir()
    assert await Orphans(queue, store, WEEK).sweep() == 0
    assert await left(store) >= {prefix}


async def test_a_redis_that_is_older_than_the_store_costs_no_shard(queue, store, tmp_path, caplog):
    for job in range(30):
        await sealed(store, tmp_path, stranger(job))
    assert await Orphans(queue, store, WEEK).sweep() == 0
    assert len(await left(store)) == 30
    assert "is it older than the store?" in caplog.text


async def test_all_shards_are_looked_at_a_slice_at_a_time(queue, store, tmp_path, monkeypatch):
    monkeypatch.setattr(orphans, "_SLICE", 4)
    for job in range(10):
        await sealed(store, tmp_path, stranger(job))
    sweeper = Orphans(queue, store, WEEK)
    assert [await sweeper.sweep() for _ in range(4)] == [4, 4, 2, 0]
    await sealed(store, tmp_path, stranger(3))
    assert await sweeper.sweep() == 1
