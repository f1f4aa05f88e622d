"""The client against a server that misbehaves; against a real tracker, see tests/tracker."""

import asyncio
import hashlib
import io
import socket
import time

import pytest
from aiohttp import web

from laion_protocol import LeaseLost, StorageFull, Unauthorized, Unavailable
from laion_protocol.client import NotATracker, TrackerClient
from laion_protocol.messages import Heartbeat, LeaseRequest, UploadSlot

LEASE = "demo~1~" + "0" * 32
ASK = LeaseRequest(worker="w", version="1")


class Server:
    """Answers each request with the next of `answers`; the last one repeats."""

    def __init__(self) -> None:
        self.answers: list = []
        self.requests: list[web.Request] = []
        self.bodies: list[bytes] = []

    async def handle(self, request):
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer == "hang up":
            request.transport.abort()
            return web.Response()
        if answer == "read half":
            await request.content.read(1000)
            request.transport.abort()
            return web.Response()
        self.bodies.append(await request.read())
        status, body = answer[:2]
        return web.json_response(body, status=status, headers=answer[2] if len(answer) > 2 else {})


@pytest.fixture
async def server():
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


@pytest.fixture
async def client(server):
    async with TrackerClient(server.url, "lw_a_b", patience=5) as client:
        yield client


def refusal(code, **more):
    return {"error": code, "message": f"{code}, says the server", **more}


IDLE = {"idle": {"reason": "no_work", "message": "all done", "retry_after": 30}}


async def test_no_work_is_an_answer_and_not_an_error(server, client):
    server.answers = [(200, IDLE)]

    answer = await client.lease(ASK)

    assert answer.lease is None
    assert answer.idle.retry_after == 30
    assert server.requests[0].headers["Authorization"] == "Bearer lw_a_b"


async def test_a_lost_lease_is_raised_at_once(server, client):
    server.answers = [(409, refusal("lease_lost"))]

    with pytest.raises(LeaseLost, match="says the server"):
        await client.heartbeat(LEASE, Heartbeat())

    assert len(server.requests) == 1


async def test_a_wrong_token_is_raised_at_once(server, client):
    server.answers = [(401, refusal("unauthorized"))]

    with pytest.raises(Unauthorized):
        await client.lease(ASK)


async def test_the_trackers_retry_after_is_obeyed(server, client):
    server.answers = [(503, refusal("unavailable", retry_after=0.3)), (200, IDLE)]
    began = time.monotonic()

    await client.lease(ASK)

    assert time.monotonic() - began >= 0.3


async def test_a_call_too_many_is_made_when_the_tracker_wants_it(server, client):
    server.answers = [(429, refusal("rate_limited", retry_after=0.3)), (200, IDLE)]
    began = time.monotonic()

    await client.lease(ASK)

    assert time.monotonic() - began >= 0.3


async def test_a_full_store_is_tried_again_until_patience_ends(server):
    server.answers = [(507, refusal("storage_full", retry_after=0.05))]

    async with TrackerClient(server.url, patience=0.3) as client:
        with pytest.raises(StorageFull):
            await client.complete(LEASE, completion())

    assert 2 <= len(server.requests) <= 8


async def test_a_call_that_is_safe_to_repeat_survives_a_broken_line(server, client):
    server.answers = ["hang up", (200, {"job": "demo/1", "state": "verifying"})]

    receipt = await client.complete(LEASE, completion())

    assert receipt.state == "verifying"


async def test_a_lease_is_not_asked_for_twice_when_the_answer_got_lost(server, client):
    # The tracker may have given one: asking again would leave it orphaned until its deadline.
    server.answers = ["hang up", (200, IDLE)]

    with pytest.raises(Unavailable):
        await client.lease(ASK)

    assert len(server.requests) == 1


async def test_every_try_of_an_upload_sends_the_whole_file_again(server, client, tmp_path):
    # LAION's workers posted the same open handle on each retry: the second body was empty.
    content = bytes(range(256)) * 4096
    file = tmp_path / "shard.parquet"
    file.write_bytes(content)
    server.answers = ["read half", "read half", (200, {})]

    await client.upload_file(
        UploadSlot(name="shard.parquet", url="/v1/x", headers={"X-A": "1"}, present=False), file
    )

    assert hashlib.sha256(server.bodies[-1]).digest() == hashlib.sha256(content).digest()
    assert server.requests[-1].headers["Content-Length"] == str(len(content))


async def test_the_token_is_not_sent_to_a_store_of_its_own(server, client, tmp_path):
    (tmp_path / "f").write_bytes(b"x")
    server.answers = [(200, {})]

    await client.upload_file(
        UploadSlot(name="f", url=f"{server.url}/presigned", present=False), tmp_path / "f"
    )

    assert "Authorization" not in server.requests[0].headers


async def test_a_redirect_is_not_followed_with_the_token(server, client):
    server.answers = [(302, {}, {"Location": "http://elsewhere.example/"})]

    with pytest.raises(NotATracker, match=r"elsewhere\.example"):
        await client.stats()


@pytest.mark.parametrize("answer", [(404, {"detail": "x"}), (200, {"hello": "world"}), (200, [])])
async def test_something_else_at_that_url_is_said_to_be_no_tracker(server, client, answer):
    server.answers = [answer]

    with pytest.raises(NotATracker):
        await client.stats()


async def test_a_proxys_bad_gateway_is_waited_out(server, client):
    server.answers = [(502, "<html>bad gateway"), (200, IDLE)]

    assert (await client.lease(ASK)).idle is not None


async def test_a_tracker_that_is_down_ends_in_one_sentence():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        async with TrackerClient(url, patience=0.2) as client:
            with pytest.raises(Unavailable, match="cannot be reached") as caught:
                await client.stats()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["tracker.example", "ftp://x", "http://", "http://x:99999", ""])
def test_a_wrong_url_is_refused_before_anything_is_sent(url):
    with pytest.raises(ValueError, match="not a tracker's URL"):
        TrackerClient(url)


async def test_events_are_read_with_their_ids_and_unknown_kinds_passed_over():
    async def feed(request):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        added = '{"type":"crawl_added","crawl":"c","time":"2026-11-23T00:00:00Z","jobs":3}'
        await response.write(b': hello\n\nid: 1\nevent: future\ndata: {"type":"future"}\n\n')
        for piece in (b"id: 2\r\ndata: ", added[:20].encode(), added[20:].encode(), b"\r\n\r\n"):
            await response.write(piece)
            await asyncio.sleep(0)
        return response

    app = web.Application()
    app.router.add_get("/v1/events", feed)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    seen = []
    async with TrackerClient(f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
        with pytest.raises(Unavailable):
            async for event_id, event in client.events():
                seen.append((event_id, event.type, event.jobs))
    await runner.cleanup()

    assert seen == [("2", "crawl_added", 3)]


async def test_a_file_that_never_ends_is_cut_off(server, client):
    server.answers = [(200, "x" * 5000)]

    with pytest.raises(NotATracker, match="over 1000 bytes"):
        await client.fetch_file("0" * 64, io.BytesIO(), most=1000)


def completion():
    from laion_protocol.messages import Completion

    return Completion.model_validate(
        {
            "manifest": {
                "recipe_sha256": "0" * 64, "worker_version": "1", "filter_version": "1",
                "model_sha256": "0" * 64, "seconds": 1, "counts": {},
                "source": {"path": "a", "part": 0, "parts": 1, "first_byte": 0, "end_byte": 1,
                           "pairs_sha256": "0" * 64},
                "files": [{"name": "shard.parquet", "size": 1, "sha256": "0" * 64}],
            }
        }
    )  # fmt: skip
