"""What Prometheus reads."""

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis.exceptions import RedisError

from laion_protocol.messages import Heartbeat, LeaseRequest, Pause
from tracker.meter import Meter
from tracker.queue import JobQueue
from tracker.troubles import Troubles

ASK = LeaseRequest(worker="pc", version="0.1.0")


async def scrape(tracker):
    """(name, labels' values) -> value."""
    session = await tracker.raw()
    async with session.get("/metrics") as answer:
        assert answer.status == 200
        assert answer.content_type == "text/plain"
        text = await answer.text()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_it_counts_answers_leases_and_jobs(tracker, monkeypatch):
    await tracker.add_crawl(files=1)
    admin, worker = await tracker.admin(), await tracker.worker("ann")
    held = (await worker.lease(ASK)).lease
    await worker.lease(ASK)
    for _ in range(3):
        await worker.heartbeat(held.lease_id, Heartbeat())
    await admin.pause_project(Pause(reason="r"))
    session = await tracker.raw()
    for path in ("/nope", "/v1/leases/x", "/also/nope"):
        async with session.get(path):
            pass

    await asyncio.sleep(0.3)  # the statistics are a moment old
    found = await scrape(tracker)
    beat = "/v1/leases/{lease_id}/heartbeat"
    assert found["laion_requests_total", "POST", beat, "200"] == 3
    assert found["laion_requests_total", "", "none", "404"] == 2  # no label for each wrong path
    assert found["laion_requests_total", "GET", "/v1/leases/{lease_id}", "401"] == 1
    assert found["laion_answer_seconds_count", f"POST {beat}"] == 3
    assert found["laion_answer_seconds_bucket", f"POST {beat}", "+Inf"] == 3
    assert 0 < found["laion_answer_seconds_sum", f"POST {beat}"] < 3
    assert found["laion_leases_total", "leased"] == found["laion_leases_total", "no_work"] == 1
    assert found["laion_jobs", "CC-1", "leased"] == found["laion_jobs", "CC-1", "total"] == 1
    assert (found["laion_paused",], found["laion_maintenance",]) == (1, 0)
    assert found["laion_free_bytes",] > 0
    assert found["laion_workers_active",] == 1

    async def broken(*_):
        raise RuntimeError

    monkeypatch.setattr(JobQueue, "extend", broken)
    await tracker.exit.enter_async_context(
        session.post(f"/v1/leases/{held.lease_id}/heartbeat", json={}, headers=bearer(worker))
    )
    assert (await scrape(tracker))["laion_requests_total", "POST", beat, "503"] == 1


def bearer(client):
    return {"Authorization": f"Bearer {client._http._token}"}


async def test_two_processes_count_together(start):
    one, two = await start(), await start()
    for tracker in (one, two):
        await (await tracker.client(None)).project()
    first = (await scrape(one))["laion_requests_total", "GET", "/v1/project", "200"]
    assert first == 1  # the other has not told it yet
    assert (await scrape(two))["laion_requests_total", "GET", "/v1/project", "200"] == 2
    assert (await scrape(one))["laion_requests_total", "GET", "/v1/project", "200"] == 2


async def test_buckets_hold_what_is_below_them(redis):
    meter = Meter(redis, Troubles(redis))
    for seconds in (0.001, 0.005, 0.006, 99):
        meter.answered("GET", "/", 200, seconds)
    totals = await meter.totals()
    counts = {key[2]: total for key, total in totals.items() if key[0] == "answer_bucket"}
    assert counts == {"0": 2, "1": 1, "11": 1}
    assert totals["answer_microseconds", "GET /"] == 99_012_000


@pytest.mark.parametrize(("status", "trouble"), [(503, True), (507, False), (429, False)])
async def test_a_full_disk_or_a_busy_caller_is_no_fault_of_the_tracker(redis, status, trouble):
    troubles = Troubles(redis)
    meter = Meter(redis, troubles)
    for _ in range(10):
        meter.answered("GET", "/", status, 0)
    assert await troubles.close_window() is trouble


async def test_what_was_counted_is_told_by_itself_and_so_is_trouble(redis, monkeypatch, caplog):
    monkeypatch.setattr("tracker.meter.WINDOW", 0.01)
    meter = Meter(redis, Troubles(redis))
    for _ in range(10):
        meter.answered("GET", "/", 503, 0)
    task = asyncio.create_task(meter.run())
    for _ in range(500):
        if await redis.hlen("{metrics}:totals"):
            break
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait({task})
    assert await Troubles(redis).minutes()
    assert "no worker pays for it" in caplog.text


async def test_nothing_is_forgotten_while_redis_is_away(redis):
    class Away:
        def pipeline(self, **_):
            raise RedisError

    meter = Meter(redis, Troubles(redis))
    meter.count("leases", "leased")
    meter._redis, back = Away(), meter._redis
    with pytest.raises(RedisError):
        await meter.flush()
    meter.count("leases", "leased")
    meter._redis = back
    assert (await meter.totals())["leases", "leased"] == 2
