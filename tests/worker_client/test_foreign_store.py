"""What a tracker's store may have of a volunteer's machine: one file, sent to the public web."""

import io
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from laion_protocol import NotFound, Unavailable, UploadMismatch
from tests.worker_client.line import Line
from worker_client.foreign_store import ForeignStore, StoreRefused

HTTPS, HTTP = "https://tracker.example", "http://tracker.example"


class Store:
    """A server that remembers what it was sent, and answers as it is told."""

    def __init__(self) -> None:
        self.status, self.body, self.headers = 200, b"", {}
        self.seen: list[tuple[str, str, dict, bytes]] = []

    @asynccontextmanager
    async def running(self):
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append((request.method, request.raw_path, headers, await request.read()))
        return web.Response(status=self.status, body=self.body, headers=self.headers)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/b/k%2Fx?sig=a%2Bb"


@pytest.fixture
async def server():
    async with Store().running() as server:
        yield server


@pytest.fixture
def store(server):
    """As a volunteer has it who named the server's address."""
    return ForeignStore(HTTP, {("127.0.0.1", server.port)}, "laion-worker/1 (+x)")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "shard.parquet"
    path.write_bytes(b"data")
    return path


async def test_a_file_is_sent_as_the_slot_says_and_nothing_else_is(server, store, file):
    headers = {"Content-Type": "application/octet-stream", "x-amz-checksum-sha256": "abc="}
    await store.put(server.url, headers, file, size=4)
    [(method, path, seen, body)] = server.seen
    assert (method, path, body) == ("PUT", "/b/k%2Fx?sig=a%2Bb", b"data")
    assert seen["content-length"] == "4"
    assert seen["x-amz-checksum-sha256"] == "abc="
    assert seen["user-agent"] == "laion-worker/1 (+x)"
    assert not {"authorization", "cookie", "proxy-authorization"} & set(seen)


@pytest.mark.parametrize(
    "url",
    [
        "http://store.example/x",  # the tracker has TLS, so its store must
        "ftp://store.example/x",
        "file:///etc/passwd",
        "https:///x",
        "https://user:secret@store.example/x",
        "https://store.example:99999/x",
        "https://192.168.1.1/x",
        "https://127.0.0.1/x",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/x",
        "https://[::ffff:10.0.0.1]/x",
        "https://127.1/x",
        "https://2130706433/x",
        "https://93.184.215.14:22/x",
        "",
    ],
)
async def test_what_is_not_the_public_web_is_not_opened(file, url):
    store = ForeignStore(HTTPS, (), "x")
    with pytest.raises(StoreRefused) as refusal:
        await store.put(url, {}, file, size=4)
    assert "secret" not in str(refusal.value)
    with pytest.raises(StoreRefused):
        await store.get(url, io.BytesIO(), most=4)


async def test_a_private_address_is_opened_only_if_the_volunteer_named_it(server, file):
    for named in ((), {("127.0.0.1", 1)}, {("127.0.0.2", server.port)}):
        with pytest.raises(StoreRefused, match=f"--allow-private 127.0.0.1:{server.port}"):
            await ForeignStore(HTTP, named, "x").put(server.url, {}, file, size=4)
    assert server.seen == []


async def test_a_name_is_judged_by_the_address_to_which_it_leads(server, store, file):
    url = server.url.replace("127.0.0.1", "localhost")
    await store.put(url, {}, file, size=4)
    server.seen.clear()
    # Elsewhere the name may lead to a good one.
    with pytest.raises(Unavailable, match=r"--allow-private 127\.0\.0\.1"):
        await ForeignStore(HTTP, (), "x").put(url, {}, file, size=4)
    assert server.seen == []


async def test_nobody_is_sent_on(server, store, file):
    server.status, server.headers = 307, {"Location": "http://192.168.1.1/"}
    with pytest.raises(Unavailable, match="HTTP 307"):
        await store.put(server.url, {}, file, size=4)
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "name", ["Authorization", "Host", "Cookie", "Transfer-Encoding", "X-Other"]
)
async def test_only_headers_of_a_store_are_sent(server, store, file, name):
    with pytest.raises(StoreRefused, match=name):
        await store.put(server.url, {name: "x"}, file, size=4)
    assert server.seen == []


@pytest.mark.parametrize("code", ["BadDigest", "XAmzContentChecksumMismatch", "IncompleteBody"])
async def test_a_file_that_was_garbled_on_the_way_is_told_as_that(server, store, file, code):
    server.status, server.body = 400, f"<Error><Code>{code}</Code></Error>".encode()
    with pytest.raises(UploadMismatch, match=code):
        await store.put(server.url, {}, file, size=4)


@pytest.mark.parametrize(
    ("status", "code"),
    [(403, "AccessDenied"), (503, "SlowDown"), (400, "RequestTimeout"), (500, "")],
)
async def test_every_other_refusal_may_pass(server, store, file, status, code):
    server.status, server.body = status, f"<Error><Code>{code}</Code></Error>".encode()
    with pytest.raises(Unavailable, match=f"HTTP {status}") as refusal:
        await store.put(server.url, {}, file, size=4)
    assert code in str(refusal.value)
    assert "sig=" not in str(refusal.value)  # whoever reads it could use it


async def test_a_file_that_changed_on_disk_is_not_sent(server, store, file):
    with pytest.raises(UploadMismatch, match="4 bytes here, not 5"):
        await store.put(server.url, {}, file, size=5)
    assert server.seen == []


async def test_a_store_that_is_away_is_told_in_a_sentence(server, store, file):
    store._allow_private |= {("127.0.0.1", 9)}
    with pytest.raises(Unavailable, match=r"store at 127\.0\.0\.1 does not answer") as refusal:
        await store.put("http://127.0.0.1:9/x?sig=1", {}, file, size=4)
    assert "sig" not in str(refusal.value)


async def test_a_file_is_read_up_to_its_size(server, store):
    server.body = b"x" * 100_000
    to = io.BytesIO()
    await store.get(server.url, to, most=100_000)
    assert to.getvalue() == server.body
    with pytest.raises(Unavailable, match="more than the announced 99999"):
        await store.get(server.url, io.BytesIO(), most=99_999)
    server.status = 403
    with pytest.raises(Unavailable, match="HTTP 403"):
        await store.get(server.url, io.BytesIO(), most=10)


async def test_a_file_that_the_store_has_lost_is_not_waited_for(server, store, file):
    server.status = 404
    with pytest.raises(NotFound, match="has lost this file"):
        await store.get(server.url, io.BytesIO(), most=10)
    with pytest.raises(Unavailable, match="HTTP 404"):
        await store.put(server.url, {}, file, size=4)


async def test_a_file_is_sent_from_its_start_after_the_line_broke(server, tmp_path):
    path = tmp_path / "big"
    path.write_bytes(bytes(range(256)) * 2**13)
    async with Line(server.url) as line:
        store = ForeignStore(HTTP, {("127.0.0.1", int(line.url.rpartition(":")[2]))}, "test")
        line.cut_after = 500_000
        with pytest.raises(Unavailable, match="does not answer"):
            await store.put(f"{line.url}/x", {}, path, size=2**21)
        line.mend()
        await store.put(f"{line.url}/x", {}, path, size=2**21)
    assert server.seen[-1][3] == path.read_bytes()
