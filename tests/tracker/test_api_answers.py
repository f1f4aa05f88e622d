"""The shape of errors, the bounds of requests, the feed, and health."""

import asyncio
import io
import json
import shutil
from dataclasses import replace
from datetime import timedelta

import aiohttp
import pytest

from laion_protocol import InvalidRequest, Unavailable
from laion_protocol.messages import LeaseRequest, Release
from tests.tracker.running import serving
from tracker.private_redis import PrivateRedis
from tracker.queue import JobQueue

ASK = LeaseRequest(worker="pc", version="0.1.0")


async def body_of(answer):
    body = await answer.json()
    assert set(body) <= {"error", "message", "retry_after"}, body
    assert "Traceback" not in body["message"]
    return body


async def test_every_error_has_the_same_shape(tracker):
    session, token = await tracker.raw(), await tracker.account("ann")
    headers = {"Authorization": f"Bearer {token}"}
    cases = [
        ("GET", "/nope", None, 404, "not_found"),
        ("DELETE", "/v1/stats", None, 405, "not_found"),
        ("POST", "/v1/leases", b"{", 422, "invalid_request"),
        ("POST", "/v1/leases", b'{"worker": "a b"}', 422, "invalid_request"),
        ("POST", "/v1/leases/x/heartbeat", b"{}", 422, "invalid_request"),
        ("GET", "/v1/events?after=nonsense", None, 422, "invalid_request"),
        ("POST", "/v1/leases", b"[" * 100_000, 400, "invalid_request"),
    ]
    for method, path, data, status, code in cases:
        kind = headers | {"Content-Type": "application/json"}
        async with session.request(method, path, data=data, headers=kind) as answer:
            body = await body_of(answer)
            assert (answer.status, body["error"]) == (status, code), path
    async with session.post("/v1/leases", json={"version": "1"}, headers=headers) as answer:
        assert (await body_of(answer))["message"].startswith("worker: ")


async def test_a_body_over_the_bound_is_refused_with_or_without_a_length(tracker):
    session = await tracker.raw()

    async def endless():
        for _ in range(100):
            yield b" " * 65_536

    for data in (io.BytesIO(b" " * 2**21), endless()):
        try:
            async with session.post("/v1/leases", data=data) as answer:
                assert (answer.status, (await body_of(answer))["error"]) == (413, "too_large")
        except aiohttp.ClientOSError:
            pass  # the answer came, and the line was closed, before all was sent
    async with session.get("/healthz") as answer:
        assert answer.status == 200


async def test_a_caller_who_stops_in_the_middle_is_let_go(start):
    tracker = await start(body_seconds=0.2)
    host, port = tracker.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /v1/leases HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    async with asyncio.timeout(5):
        assert b" 422 " in await reader.readline()
    writer.close()
    await writer.wait_closed()


async def test_a_fault_of_ours_is_logged_and_told_by_its_number_only(tracker, monkeypatch, caplog):
    async def broken(*_):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(JobQueue, "crawls", broken)
    session = await tracker.raw()
    async with session.get("/v1/leaderboard") as answer:
        body = await body_of(answer)
    assert (answer.status, body["error"]) == (503, "unavailable")
    assert body["retry_after"] == 5
    assert answer.headers["Retry-After"] == "5"
    assert "secret" not in body["message"]
    assert body["message"].partition("error ")[2][:8] in caplog.text
    assert "secret detail" in caplog.text


async def test_without_redis_callers_are_told_to_come_back_and_it_goes_on_afterwards(
    settings, tmp_path
):
    data = tmp_path / "redis"
    async with PrivateRedis(data) as private:
        server = private._process
        alone = replace(settings, redis_url=private.url, reap_every=timedelta(seconds=0.1))
        async with serving(alone) as url, aiohttp.ClientSession(url) as session:
            async with session.get("/readyz") as answer:
                assert (answer.status, (await answer.json())["ready"]) == (200, True)
            server.kill()
            await server.wait()
            async with session.get("/v1/stats") as answer:
                body = await body_of(answer)
                assert (answer.status, body["error"]) == (503, "unavailable")
                assert body["retry_after"] > 0
            async with session.get("/readyz") as answer:
                problem = await answer.json()
                assert answer.status == 503
                assert problem["checks"]["store"] == "ok"
                assert problem["checks"]["redis"] != "ok"
            async with session.get("/healthz") as answer:
                assert answer.status == 200
            async with PrivateRedis(data), session.get("/v1/stats") as answer:
                assert answer.status == 200


async def test_readyz_says_when_the_store_cannot_be_written(tracker):
    incoming = tracker.settings.data / "incoming"
    shutil.rmtree(incoming)
    session = await tracker.raw()
    async with session.get("/readyz") as answer:
        problem = await answer.json()
    assert answer.status == 503
    assert "store" in problem["checks"]
    assert problem["checks"]["redis"] == "ok"
    incoming.mkdir()


async def test_the_feed_goes_on_after_the_last_event_that_was_seen(tracker):
    client = await tracker.client(None)
    await tracker.add_crawl("A")
    worker = await tracker.worker()
    held = (await worker.lease(ASK)).lease
    await worker.release(held.lease_id, Release())
    seen = []
    async with asyncio.timeout(5):
        async for cursor, event in client.events(after="0"):
            seen.append((cursor, event.type))
            if len(seen) == 2:
                break
    assert [kind for _, kind in seen] == ["crawl_added", "attempt_lost"]
    async with asyncio.timeout(5):
        async for _, event in client.events(after=seen[0][0]):
            assert event.type == "attempt_lost"
            break


async def test_the_feed_is_server_sent_events_with_a_heartbeat(start):
    tracker = await start(event_ping=timedelta(seconds=0.1), max_event_streams=1)
    session = await tracker.raw()
    async with session.get("/v1/events") as answer:
        assert answer.content_type == "text/event-stream"
        await tracker.add_crawl("A")
        lines = []
        async with asyncio.timeout(5):
            while not (any(b.startswith(b"data:") for b in lines) and b": ping" in b"".join(lines)):
                lines.append(await answer.content.readline())
        fields = dict(
            line.decode().strip().split(": ", 1) for line in lines if line[:1] in (b"i", b"e", b"d")
        )
        assert fields["event"] == "crawl_added"
        assert json.loads(fields["data"])["crawl"] == "A"
        assert fields["id"]
        with pytest.raises(Unavailable, match="too many"):
            async for _ in (await tracker.client(None)).events():
                pass
    with pytest.raises(InvalidRequest):
        async for _ in (await tracker.client(None)).events(after="x y"):
            pass


async def test_statistics_are_public_and_count_who_takes_part(tracker):
    await tracker.add_crawl("A", files=2)
    worker = await tracker.worker("ann")
    await worker.lease(ASK)
    anyone = await tracker.client(None)
    await asyncio.sleep(0.3)
    stats = await anyone.stats()
    assert stats.workers_active == 1
    [crawl] = stats.crawls
    assert (crawl.jobs.total, crawl.jobs.leased, crawl.attempts) == (2, 1, 1)
    assert crawl.eta_seconds is None
    assert (await anyone.leaderboard()).rows == ()
