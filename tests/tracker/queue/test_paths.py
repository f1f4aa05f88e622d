import pytest

from laion_protocol import InvalidRequest, NotFound
from tracker.queue import JobRef, keys
from tracker.queue.paths import BLOCK, PathCache, check_paths, pack, unpack


def test_a_list_is_the_same_after_packing():
    paths = [f"crawl-data/ä/{number:06}.warc.gz" for number in range(2 * BLOCK + 1)]
    blocks = list(pack(paths))
    assert [number for number, _ in blocks] == [0, 1, 2]
    assert [path for _, block in blocks for path in unpack(block)] == paths


def test_a_hundred_thousand_paths_take_little_memory():
    paths = [
        f"crawl-data/CC-MAIN-2026-43/segments/{17e11 + i // 900:.0f}.{i // 900}/warc/"
        f"CC-MAIN-20261018123456-20261018153456-{i:05}.warc.gz"
        for i in range(100_000)
    ]
    assert sum(len(block) for _, block in pack(paths)) < 2 * 2**20


@pytest.mark.parametrize("path", ["a\nb", "a\rb", "a\0b", "\ud800"])
def test_a_path_that_would_break_its_block_is_refused(path):
    with pytest.raises(InvalidRequest, match="path 1 "):
        check_paths(["fine", path])


async def test_every_chunk_of_a_crawl_is_found(queue, new_crawl):
    await queue.add(new_crawl(files=BLOCK + 2, parts=3, base="https://example.org/cc/"))
    last = await queue.chunk(JobRef("CC-TEST-1", (BLOCK + 2) * 3 - 1))
    assert (last.part, last.parts) == (2, 3)
    assert last.path == f"crawl/{BLOCK + 1:05}.warc.gz"
    assert last.source == f"https://example.org/cc/crawl/{BLOCK + 1:05}.warc.gz"
    assert await queue.path("CC-TEST-1", BLOCK - 1) == f"crawl/{BLOCK - 1:05}.warc.gz"


async def test_a_chunk_beyond_the_crawl_is_not_found(queue, new_crawl):
    await queue.add(new_crawl(files=2, parts=3))
    for job in (JobRef("CC-TEST-1", 6), JobRef("CC-OTHER", 0)):
        with pytest.raises(NotFound):
            await queue.chunk(job)
    for index in (2, BLOCK):
        with pytest.raises(NotFound):
            await queue.path("CC-TEST-1", index)


async def test_only_the_last_blocks_stay_in_memory_and_those_are_not_read_again(
    queue, new_crawl, redis
):
    await queue.add(new_crawl(files=3 * BLOCK))
    cache = PathCache(redis, blocks=2)
    for index in (0, BLOCK, 0, 2 * BLOCK):  # pushes out block 1, which was used longest ago
        await cache.path("CC-TEST-1", index)
    await redis.delete(keys.paths("CC-TEST-1"))
    assert await cache.path("CC-TEST-1", 7) == "crawl/00007.warc.gz"
    assert await cache.path("CC-TEST-1", 2 * BLOCK) == f"crawl/{2 * BLOCK:05}.warc.gz"
    with pytest.raises(NotFound):
        await cache.path("CC-TEST-1", BLOCK)
