"""Reservations that end with their attempt; and dedupe files that one of several machines has."""

import asyncio

import numpy as np
import pytest

from laion_protocol import InvalidRequest, Unavailable
from laion_protocol.messages import Completion, LeaseRequest, PairKeys, Release
from tests.tracker.shards import make_shard, row
from tests.tracker.test_metrics import scrape
from tracker.dedupe import Dedupe, pair_index
from tracker.open_store import open_store
from tracker.queue import JobQueue
from tracker.verifier import Verifier
from tracker.verify import ShardChecker

KEYS = PairKeys.of(range(1000, 1100))


async def lease_of(client):
    return (await client.lease(LeaseRequest(worker="pc", version="9.9"))).lease


async def hand_in(client, lease, directory) -> None:
    shard = make_shard(directory, lease.recipe, [row(1), row(2)], lease=lease)
    for slot in (await client.plan_uploads(lease.lease_id, shard.files)).slots:
        await client.upload_file(slot, shard.directory / slot.name)
    await client.complete(lease.lease_id, Completion(manifest=shard.manifest))


def verifier_of(redis, settings) -> Verifier:
    dedupe = Dedupe(settings.data / "dedupe", redis)
    return Verifier(JobQueue(redis), open_store(settings), ShardChecker(), settings, dedupe)


async def test_pairs_of_an_attempt_that_is_over_are_free_whoever_ended_it(tracker, redis, settings):
    await tracker.add_crawl()
    ann, bob = await tracker.worker("ann"), await tracker.worker("bob")
    first, second = await lease_of(ann), await lease_of(bob)
    await ann.new_pairs(first.lease_id, KEYS)
    verifier = verifier_of(redis, settings)  # as another process
    await verifier.commit()
    assert (await bob.new_pairs(second.lease_id, KEYS)).new == 0
    await ann.release(first.lease_id, Release(reason="bedtime"))
    other = Dedupe(settings.data / "dedupe", redis)
    assert await other.free_ended(JobQueue(redis)) == 100
    assert (await bob.new_pairs(second.lease_id, KEYS)).new == 100
    state = await other.state()
    assert (state.reserved, state.holders, state.freed) == (100, 1, 100)


async def test_a_look_at_what_is_over_comes_every_half_minute_from_one_process(tracker, settings):
    one, other = (Dedupe(settings.data / "dedupe", tracker.redis) for _ in range(2))
    assert one.index.sweep_due(30)
    assert not other.index.sweep_due(30)
    assert other.index.sweep_due(0)


async def test_pairs_of_an_accepted_shard_stay_reserved_until_they_are_committed(
    tracker, redis, settings, tmp_path
):
    await tracker.add_crawl()
    ann, bob = await tracker.worker("ann"), await tracker.worker("bob")
    lease, other = await lease_of(ann), await lease_of(bob)
    await ann.new_pairs(lease.lease_id, KEYS)
    await hand_in(ann, lease, tmp_path / "s")
    verifier, dedupe = verifier_of(redis, settings), Dedupe(settings.data / "dedupe", redis)
    await verifier.check_all()
    assert await dedupe.free_ended(JobQueue(redis)) == 0
    assert (await bob.new_pairs(other.lease_id, KEYS)).new == 0
    await dedupe.commit_accepted(JobQueue(redis))
    assert await dedupe.free_ended(JobQueue(redis)) == 100
    assert (await bob.new_pairs(other.lease_id, KEYS)).new == 100  # none of them was in it


async def test_a_lease_that_asks_for_too_much_is_told_so(tracker, monkeypatch):
    monkeypatch.setattr(pair_index, "MOST_OF_A_LEASE", 100)
    await tracker.add_crawl()
    ann = await tracker.worker()
    lease = await lease_of(ann)
    await ann.new_pairs(lease.lease_id, KEYS)
    with pytest.raises(InvalidRequest, match="do not ask about more"):
        await ann.new_pairs(lease.lease_id, KEYS)
    assert (await (await tracker.admin()).dedupe_state()).refused == 1


async def test_another_machine_does_not_answer_from_files_that_know_nothing(
    tracker, start, redis, settings, tmp_path
):
    await tracker.add_crawl()
    ann = await tracker.worker()
    lease = await lease_of(ann)
    await ann.new_pairs(lease.lease_id, KEYS)
    await verifier_of(redis, settings).commit()
    other = await start(data=tmp_path / "other")
    there = await other.worker("bob")
    mine = await lease_of(there)
    with pytest.raises(Unavailable, match="another machine of this tracker has the dedupe files"):
        await there.new_pairs(mine.lease_id, KEYS)
    state = await (await other.admin()).dedupe_state()  # what the first one told
    assert (state.here, state.reserved, state.asked) == (False, 100, 100)
    async with (await other.raw()).get("/readyz") as answer:
        warnings = (await answer.json())["warnings"]
    assert any("another machine has the dedupe files" in warning for warning in warnings)
    # Its verifier says of what it accepts that a rebuild is needed.
    await Dedupe(other.settings.data / "dedupe", redis).intend(mine.lease_id, "bob", bytes(8))
    assert not (other.settings.data / "dedupe" / "to-commit").exists()
    await verifier_of(redis, settings).commit()
    found = await scrape(other)
    assert found["laion_dedupe_elsewhere",] == 1
    assert found["laion_dedupe_reserved",] == found["laion_dedupe_pairs_total", "new"] == 100


async def test_a_rebuild_makes_a_machine_the_one_that_answers(
    tracker, start, redis, settings, tmp_path
):
    await tracker.add_crawl()
    ann = await tracker.worker()
    lease = await lease_of(ann)
    await ann.new_pairs(lease.lease_id, KEYS)
    await hand_in(ann, lease, tmp_path / "s")
    await verifier_of(redis, settings).check_all()

    other = Dedupe(tmp_path / "other", redis)
    other.index.unready()  # as a rebuild does that is cut off
    await other.home.take()
    with pytest.raises(Unavailable, match="reads anew"):
        await other.ask("CC-1/9", "l", "bob", KEYS.packed())
    assert "never filled" in (await other.weaknesses())[0]
    other.index.fresh().add(np.arange(5, dtype=np.uint64))
    other.index.replace()
    assert (await other.ask("CC-1/9", "l", "bob", PairKeys.of(range(4, 7)).packed())).new == 2
    assert await other.weaknesses() == ()

    first = Dedupe(settings.data / "dedupe", redis)
    assert len(await first.weaknesses()) == 1
    await (await tracker.admin()).rebuild_dedupe()
    async with asyncio.timeout(10):
        while not (state := await first.state()).here or state.busy:  # noqa: ASYNC110 (in another task)
            await asyncio.sleep(0.02)
    assert (state.ready, state.filters[0].held) == (True, 2)
    with pytest.raises(Unavailable, match="another machine"):
        await Dedupe(other.directory, redis).ask("CC-1/9", "l", "bob", KEYS.packed())
