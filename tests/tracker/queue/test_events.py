import asyncio
from datetime import timedelta

import pytest

from laion_protocol import FailureClass, InvalidRequest
from laion_protocol.events import (
    CrawlAddedEvent,
    CrawlFinished,
    CrawlStateChanged,
    ShardAccepted,
)
from tracker.events import EventLog
from tracker.queue import keys


@pytest.fixture
def events(redis):
    return EventLog(redis, poll_interval=timedelta(milliseconds=5))


async def accept_one(queue, manifest, crawl="CC-TEST-1"):
    lease = await queue.lease(crawl, "ada", "pc")
    await queue.complete(lease.lease_id, "ada", manifest())
    await queue.accept(lease.lease_id, manifest().counts, 10)
    return lease


async def test_a_crawls_whole_story_is_in_the_log(queue, events, new_crawl, manifest):
    await queue.add(new_crawl(files=2))
    first = await accept_one(queue, manifest)
    second = await accept_one(queue, manifest)
    story = [entry.event for entry in await events.read("0")]
    assert [type(event) for event in story] == [
        CrawlAddedEvent,
        ShardAccepted,
        ShardAccepted,
        CrawlFinished,
    ]
    assert story[0].jobs == 2
    assert [(event.job, event.accepted, event.total) for event in story[1:3]] == [
        (str(first.job), 1, 2),
        (str(second.job), 2, 2),
    ]
    accepted = story[1]
    assert (accepted.account, accepted.worker, accepted.kept, accepted.pairs) == ("ada", "pc", 3, 5)
    assert (story[3].accepted, story[3].dead) == (2, 0)
    assert {event.crawl for event in story} == {"CC-TEST-1"}
    crawl = await queue.crawl("CC-TEST-1")
    assert timedelta(0) <= story[0].time - crawl.added_at < timedelta(seconds=1)


async def test_a_crawl_that_becomes_finished_again_says_so_with_its_new_numbers(
    queue, events, new_crawl, manifest
):
    async def kill():
        for account in ("ada", "bob", "ada"):
            lease = await queue.lease("CC-TEST-1", account, "pc")
            await queue.fail(lease.lease_id, account, FailureClass.JOB, "not a WARC file")
        return lease.job

    await queue.add(new_crawl(files=2))
    await accept_one(queue, manifest)
    dead = await kill()
    await queue.requeue([dead], "fixed")
    await kill()
    await queue.requeue([dead], "fixed now")
    await accept_one(queue, manifest)
    story = [entry.event for entry in await events.read("0")]
    told = [(e.accepted, e.dead) for e in story if isinstance(e, CrawlFinished)]
    assert told == [(1, 1), (1, 1), (2, 0)]


async def test_what_an_admin_does_to_a_crawl_is_told_once(queue, events, new_crawl):
    await queue.add(new_crawl())
    lease = await queue.lease("CC-TEST-1", "ada", "pc")
    for verb in ("pause", "pause", "resume", "drain"):
        await getattr(queue, verb)("CC-TEST-1")
    await queue.release(lease.lease_id, "ada", "bye")
    await queue.finish("CC-TEST-1")
    await queue.resume("CC-TEST-1")
    await queue.drain("CC-TEST-1")
    await queue.resume("CC-TEST-1")
    await queue.finish("CC-TEST-1")
    story = [entry.event for entry in await events.read("0")]
    told = [event.state for event in story if isinstance(event, CrawlStateChanged)]
    assert told == [
        "paused", "active", "draining", "finished", "active", "draining", "finished",
        "active", "finished",
    ]  # fmt: skip


async def test_each_cursor_continues_where_its_event_ended(queue, events, new_crawl, manifest):
    for name in ("CC-A", "CC-B"):
        await queue.add(new_crawl(name=name, files=3))
    for crawl in ("CC-B", "CC-A", "CC-A", "CC-B"):
        await accept_one(queue, manifest, crawl)
    everything = await events.read("0")
    assert len(everything) == 6
    for number, entry in enumerate(everything):
        rest = await events.read(entry.cursor)
        assert [later.event for later in rest] == [e.event for e in everything[number + 1 :]]


async def test_pages_of_any_size_lose_and_repeat_nothing(queue, events, new_crawl, manifest):
    for name in ("CC-A", "CC-B", "CC-C"):
        await queue.add(new_crawl(name=name, files=3))
        for _ in range(3):
            await accept_one(queue, manifest, name)
    everything = [entry.event for entry in await events.read("0")]
    for limit in (1, 2, 7):
        cursor, paged = "0", []
        while page := await events.read(cursor, limit):
            assert len(page) <= limit
            paged += [entry.event for entry in page]
            cursor = page[-1].cursor
        assert paged == everything


async def test_the_end_is_after_all_that_was(queue, events, new_crawl, manifest):
    assert await events.end() == "0"
    await queue.add(new_crawl(files=2))
    cursor = await events.end()
    assert await events.read(cursor) == ()
    lease = await accept_one(queue, manifest)
    (entry,) = await events.read(cursor)
    assert entry.event.job == str(lease.job)
    assert await events.end() == entry.cursor


async def test_a_reader_that_follows_hears_of_new_crawls(queue, events, new_crawl, manifest):
    await queue.add(new_crawl(name="CC-A"))
    heard, cursor = [], await events.end()

    async def follow():
        async for entry in events.tail(cursor):
            heard.append(entry.event)
            if len(heard) == 3:
                return

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(follow())
        await asyncio.sleep(0.02)
        await queue.add(new_crawl(name="CC-B", files=2))
        await accept_one(queue, manifest, "CC-B")
        await asyncio.sleep(0.002)  # of one millisecond, the feed orders crawls by name
        await accept_one(queue, manifest, "CC-A")
    assert [(event.type, event.crawl) for event in heard] == [
        ("crawl_added", "CC-B"),
        ("shard_accepted", "CC-B"),
        ("shard_accepted", "CC-A"),
    ]


async def test_a_reader_without_a_cursor_hears_only_what_happens_from_now_on(
    queue, events, new_crawl, manifest
):
    await queue.add(new_crawl(files=1000))
    old = await accept_one(queue, manifest)
    first = asyncio.create_task(anext(events.tail()))
    news = []
    async with asyncio.timeout(60):
        while not first.done():
            news.append(await accept_one(queue, manifest))
            await asyncio.sleep(0.005)
    assert first.result().event.job in {str(lease.job) for lease in news}
    assert first.result().event.job != str(old.job)


async def test_a_reader_that_was_away_hears_what_it_missed(queue, events, new_crawl, manifest):
    await queue.add(new_crawl(files=3))
    cursor = await events.end()
    missed = [await accept_one(queue, manifest) for _ in range(2)]
    heard = []
    async with asyncio.timeout(60):
        async for entry in events.tail(cursor):
            heard.append(entry.event.job)
            if len(heard) == 2:
                break
    assert heard == [str(lease.job) for lease in missed]


@pytest.mark.parametrize(
    "cursor",
    ["x", "CC-A", "CC-A=1", "CC-A=1-", "CC-A=-1-0", "CC A=1-0", "CC-A=1-0,", "CC-A=1-0;CC-B=1-0",
     "CC-A=٣-0", "CC-A=99999999999999999-0", ",".join(["CC-A=1-0"] * 10_000)],
)  # fmt: skip
async def test_a_cursor_that_is_none_is_refused(events, cursor):
    with pytest.raises(InvalidRequest):
        await events.read(cursor)


async def test_a_cursor_may_name_crawls_that_are_gone(queue, events, new_crawl):
    await queue.add(new_crawl())
    (entry,) = await events.read("CC-GONE=5-0")
    assert entry.cursor.startswith("CC-TEST-1=")
    assert "CC-GONE" not in entry.cursor


async def test_an_event_of_a_newer_tracker_is_passed_over(
    queue, events, new_crawl, manifest, redis, caplog
):
    await queue.add(new_crawl(files=2))
    cursor = await events.end()
    for _ in range(3):
        await redis.xadd(keys.events("CC-TEST-1"), {"event": '{"type":"party"}'})
    assert await events.read(cursor, limit=2) == ()
    lease = await accept_one(queue, manifest)
    (entry,) = await events.read(cursor, limit=2)
    assert entry.event.job == str(lease.job)
    assert "party" in caplog.text
