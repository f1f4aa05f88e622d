"""Dedupe files that are made anew: what a rebuild waits for, and what it leaves when it fails."""

import asyncio
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from laion_protocol import Stage, Unavailable
from laion_protocol.messages import PairKeys
from tests.tracker.conftest import StartTracker
from tests.tracker.running import Tracker, until
from tests.tracker.shards import row
from tests.tracker.test_stages_api import fetched, lease, scored, send
from tracker.dedupe import Dedupe, rebuild
from tracker.dedupe.rebuild import Rebuild
from tracker.open_store import open_store
from tracker.queue import JobQueue
from tracker.settings import Settings
from tracker.verify import ShardChecker

KEYS = PairKeys.of(range(1000, 1100))
LEASE = f"CC-1~0~{'0' * 32}"


@pytest.fixture
def first(settings: Settings, redis: Redis) -> Dedupe:
    """The files at the machine that was asked first."""
    return Dedupe(settings.data / "dedupe", redis)


@pytest.fixture
def other(tmp_path, redis: Redis) -> Dedupe:
    """The files at another machine."""
    return Dedupe(tmp_path / "other" / "dedupe", redis)


def rebuild_of(dedupe: Dedupe, redis: Redis, settings: Settings, takeover: float = 0) -> Rebuild:
    return Rebuild(dedupe, JobQueue(redis), open_store(settings), ShardChecker(), takeover=takeover)


async def accept(queue: JobQueue) -> None:
    handed_in = await queue.claim_verification("CC-1", timedelta(minutes=1))
    counts = handed_in.manifest.counts
    await queue.accept(handed_in.lease_id, counts, 1, claim=handed_in.claim)


async def ask(dedupe: Dedupe) -> int:
    return (await dedupe.ask("CC-1/0", LEASE, "ann", KEYS.packed())).new


async def test_pairs_that_the_fetching_attempt_reserved_stay_until_the_scored_shard_is_committed(
    tracker: Tracker, redis: Redis, settings: Settings, first: Dedupe, tmp_path
):
    await tracker.add_crawl(files=1)
    ann, queue = await tracker.worker("ann"), JobQueue(redis)
    held = await lease(ann, Stage.FETCH)
    await ann.new_pairs(held.lease_id, KEYS)
    await send(ann, held, fetched(tmp_path / "half", held))
    await accept(queue)
    held = await lease(ann, Stage.SCORE)
    await send(ann, held, scored(tmp_path / "whole", held, [row(0), row(2)]))
    await first.intend(held.lease_id, "ann", bytes(8))
    await accept(queue)
    assert await first.free_ended(queue) == 0
    assert await first.commit_accepted(queue) == 1
    assert await first.free_ended(queue) == 100


async def test_a_rebuild_that_fails_leaves_the_former_machine_to_answer(
    redis: Redis, settings: Settings, first: Dedupe, other: Dedupe
):
    assert await ask(first) == 100
    other.directory.mkdir(parents=True)
    (other.directory / "filters-1").write_text("in the way of the new filters")
    with pytest.raises(OSError, match="filters-1"):
        await rebuild_of(other, redis, settings).run()
    assert await Dedupe(first.directory, redis).home.is_here()
    assert await ask(Dedupe(first.directory, redis)) == 100
    with pytest.raises(Unavailable, match="another machine"):
        await ask(other)


async def test_so_does_one_that_is_stopped_and_what_was_noted_meanwhile_is_counted(
    redis: Redis, settings: Settings, first: Dedupe, other: Dedupe
):
    assert await ask(first) == 100
    one = rebuild_of(other, redis, settings, takeover=60)
    assert await one.start()
    with pytest.raises(Unavailable, match="reads anew"):
        await ask(other)
    await other.intend(LEASE, "ann", KEYS.packed())
    state = await Dedupe(other.directory, redis).state()  # as another process there tells it
    assert (state.to_commit, state.busy) == (1, True)
    await one.stop()
    assert await ask(Dedupe(first.directory, redis)) == 100
    assert await first.home.elsewhere() == 1
    assert not list((other.directory / "to-commit").iterdir())


async def test_who_fails_takes_nothing_from_a_third_machine(
    redis: Redis, first: Dedupe, other: Dedupe, tmp_path
):
    third = Dedupe(tmp_path / "third", redis)
    assert not await first.home.take()
    assert await other.home.take()
    assert await third.home.take()
    assert not await other.home.give_back()
    assert await third.home.is_here(believed=0)
    assert await third.home.known_now(0)
    assert not await third.home.give_back()  # its rebuild is done


async def test_a_rebuild_that_died_half_way_is_begun_again_by_the_next_tracker_there(
    tracker: Tracker, start: StartTracker, redis: Redis, first: Dedupe, other: Dedupe
):
    assert await ask(first) == 100
    other.index.unready()
    await other.home.take()  # and dies here
    await start(data=other.directory.parent)
    await until(lambda: other.index.ready)
    assert await ask(other) == 100


async def test_a_rebuild_waits_for_who_commits_or_looks(
    redis: Redis, settings: Settings, first: Dedupe
):
    one, filters = rebuild_of(first, redis, settings), first.directory / "filters-1"
    process = Dedupe(first.directory, redis)
    with process.exclusively().held():
        with process.rebuilding().held():
            asked = asyncio.create_task(one.start())
            await asyncio.sleep(0.1)
            assert not asked.done()
        assert await asked
        await asyncio.sleep(0.1)
        assert not filters.exists()
    await until(filters.exists)
    await one.stop()


async def test_the_route_answers_when_the_rebuild_has_begun(tracker: Tracker, first: Dedupe):
    admin = await tracker.admin()
    with first.exclusively().held():
        with first.rebuilding().held():
            asked = asyncio.create_task(admin.rebuild_dedupe())
            await asyncio.sleep(0.3)
            assert not asked.done()
        await asked
        await admin.rebuild_dedupe()  # it is under way
        with first.rebuilding().tried() as idle:
            assert not idle
    await until((first.directory / "filters-1").exists)


async def test_a_second_rebuild_does_not_wait_for_the_first(
    redis: Redis, settings: Settings, first: Dedupe, monkeypatch
):
    monkeypatch.setattr(rebuild, "_PATIENCE", 0.05)
    with Dedupe(first.directory, redis).rebuilding().held():
        assert not await rebuild_of(first, redis, settings).run()
    assert await rebuild_of(first, redis, settings).run()


async def test_what_is_accepted_after_another_machine_took_over_is_counted_at_once(
    first: Dedupe, other: Dedupe
):
    assert await ask(first) == 100  # it believes to be asked, for some seconds
    await other.home.take()
    await first.intend(LEASE, "ann", KEYS.packed())
    assert not (first.directory / "to-commit").exists()
    assert await other.home.elsewhere() == 1


async def test_a_machine_that_takes_over_reads_when_all_was_accepted_that_is_noted_elsewhere(
    redis: Redis, settings: Settings, first: Dedupe, other: Dedupe
):
    assert await ask(first) == 100
    assert await rebuild_of(other, redis, settings, takeover=0.4).start()
    await asyncio.sleep(0.2)
    assert not (other.directory / "filters-1").exists()
    await until(lambda: (other.directory / "filters-1").exists())
    await until(lambda: other.index.ready)


async def test_shards_that_two_rebuilds_made_known_are_not_counted_twice(first: Dedupe):
    await first.home.take()
    await first.home.missed(3)
    assert await first.home.elsewhere() == 3
    missed = await first.home.missed_ever()
    for _ in range(2):
        await first.home.known_now(missed)
    assert await first.home.elsewhere() == 0
    await first.home.missed()
    assert await first.home.elsewhere() == 1
