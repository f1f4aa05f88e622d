import asyncio
from datetime import timedelta

import pytest

from laion_protocol import (
    Conflict,
    CrawlState,
    InvalidRequest,
    NotFound,
    Recipe,
    SourceKind,
    Unavailable,
)
from tracker.queue import JobQueue, JobRef, keys
from tracker.queue.permutation import Permutation
from tracker.queue.staging import stage


async def test_a_crawl_has_a_job_for_each_part_of_each_file(queue, new_crawl):
    new = new_crawl(files=3, parts=4, seed=7)
    added = await queue.add(new)
    assert (added.name, added.jobs, added.recipe_sha256) == ("CC-TEST-1", 12, new.recipe.sha256)
    crawl = await queue.crawl("CC-TEST-1")
    assert (crawl.files, crawl.parts, crawl.jobs, crawl.seed) == (3, 4, 12, 7)
    assert (crawl.recipe, crawl.state) == (new.recipe, CrawlState.ACTIVE)
    assert await queue.crawls() == (crawl,)


async def test_the_same_crawl_added_again_changes_nothing(queue, new_crawl):
    first = await queue.add(new_crawl(files=2))
    before = await queue.crawl("CC-TEST-1")
    await queue.lease("CC-TEST-1", "ada", "w")
    assert await queue.add(new_crawl(files=2)) == first
    assert await queue.add(new_crawl(files=2, seed=before.seed)) == first
    assert await queue.crawl("CC-TEST-1") == before
    assert isinstance((await queue.lease("CC-TEST-1", "ada", "w")).job, JobRef)


@pytest.mark.parametrize(
    "other",
    [
        {"files": 3},
        {"parts": 2},
        {"base": "https://example.net/"},
        {"recipe": Recipe(kind=SourceKind.WAT)},
        {"seed": 2},
    ],
)
async def test_another_crawl_of_the_same_name_is_a_conflict(queue, new_crawl, other, redis):
    await queue.add(new_crawl(files=2, seed=1))
    before = await queue.crawl("CC-TEST-1")
    with pytest.raises(Conflict):
        await queue.add(new_crawl(**{"files": 2, "seed": 1, **other}))
    assert await queue.crawl("CC-TEST-1") == before
    assert await queue.path("CC-TEST-1", 1) == "crawl/00001.warc.gz"
    with pytest.raises(NotFound):
        await JobQueue(redis).path("CC-TEST-1", 2)
    assert not await redis.keys("*staged*")


async def test_a_crawl_added_by_many_at_once_is_added_once(queue, new_crawl, redis):
    answers = await asyncio.gather(*(queue.add(new_crawl(files=5)) for _ in range(10)))
    assert len(set(answers)) == 1
    assert await redis.xlen(keys.events("CC-TEST-1")) == 1
    assert await redis.ttl(keys.paths("CC-TEST-1")) == -1
    assert not await redis.keys("*staged*")


async def test_an_add_that_died_half_way_is_invisible_and_forgotten(queue, new_crawl, redis):
    await stage(redis, new_crawl(files=5))
    await redis.sadd(keys.CRAWLS, "CC-TEST-1")
    assert await queue.crawls() == ()
    with pytest.raises(NotFound):
        await queue.crawl("CC-TEST-1")
    with pytest.raises(NotFound):
        await queue.lease("CC-TEST-1", "ada", "w")
    (staged,) = await redis.keys("*staged*")
    assert 0 < await redis.ttl(staged) <= 3600
    assert (await queue.add(new_crawl(files=5))).jobs == 5


@pytest.mark.parametrize("lost", ["all", "a block"])
async def test_a_path_list_that_got_lost_on_its_way_makes_no_crawl(
    queue, new_crawl, redis, monkeypatch, lost
):
    async def slow_stage(redis, new):
        staged = await stage(redis, new)
        key = keys.staged(new.name, staged.token)
        await (redis.delete(key) if lost == "all" else redis.hdel(key, "0"))
        return staged

    with monkeypatch.context() as patch:
        patch.setattr("tracker.queue.crawl_verbs.stage", slow_stage)
        with pytest.raises(Unavailable, match="add it again"):
            await queue.add(new_crawl(files=1001))
    assert await queue.crawls() == ()
    assert (await queue.add(new_crawl(files=1001))).jobs == 1001


async def test_crawls_are_told_in_the_order_in_which_they_came(queue, new_crawl):
    for name in ("b", "a", "c"):
        await queue.add(new_crawl(name=name))
        await asyncio.sleep(0.002)
    assert [crawl.name for crawl in await queue.crawls()] == ["b", "a", "c"]


async def test_jobs_come_in_the_order_of_the_seed(queue, new_crawl):
    await queue.add(new_crawl(files=5, parts=5, seed=11))
    leases = [await queue.lease("CC-TEST-1", "ada", "w") for _ in range(25)]
    order = Permutation(25, 11)
    assert [lease.job.index for lease in leases] == [order[turn] for turn in range(25)]


async def test_crawls_without_a_seed_differ_in_their_order(queue, new_crawl):
    for name in ("a", "b"):
        await queue.add(new_crawl(name=name))
    first, second = await queue.crawls()
    assert first.seed != second.seed


async def test_too_many_jobs_are_refused(queue, new_crawl, redis):
    paths = tuple(str(number) for number in range(10_001))
    with pytest.raises(InvalidRequest, match="100000000 jobs"):
        await queue.add(new_crawl(paths=paths, parts=10_000))
    assert not await redis.keys("*")


async def test_ten_million_pending_jobs_take_no_room(queue, new_crawl, redis):
    before = (await redis.info("memory"))["used_memory"]
    await queue.add(new_crawl(files=1000, parts=10_000))
    assert (await redis.info("memory"))["used_memory"] - before < 300_000
    stats = await queue.stats("CC-TEST-1", silent_for=timedelta(0))
    assert stats.jobs.pending == 10_000_000
