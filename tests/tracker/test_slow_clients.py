"""Connections that take their time, and whether the others notice."""

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
import uvicorn

from tests.tracker.running import until
from tracker.slow_clients import MAX_HEAD, Crowds, patient

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"


async def answer_some(scope, receive, send):
    """`/big` is 8 MB, `/later` takes half a second, everything else says its path at once."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    if scope["path"] == "/later":
        await asyncio.sleep(0.5)
    body = b"x" * 2**23 if scope["path"] == "/big" else scope["path"].encode()
    length = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body"})


@pytest.fixture
async def server(settings):
    """`await server(head_seconds=…)`: the port of a server so impatient."""
    async with _servers() as begin:

        async def start(**changes):
            protocol = type("Hurried", (patient(settings),), changes)
            return protocol, await begin(protocol)

        yield start


@asynccontextmanager
async def _servers():
    running = []

    async def begin(protocol):
        config = uvicorn.Config(
            answer_some, port=0, http=protocol, ws="none", lifespan="off", log_config=None,
            timeout_keep_alive=1, timeout_graceful_shutdown=1,
        )  # fmt: skip
        server = uvicorn.Server(config)
        running.append((server, asyncio.create_task(server._serve())))
        await until(lambda: server.started)
        return server.servers[0].sockets[0].getsockname()[1]

    yield begin
    for server, task in running:
        server.should_exit = True
        await task


async def opened(port, address="127.0.0.1"):
    return await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))


async def refused(reader):
    """Status and body of an answer that ends the connection."""
    async with asyncio.timeout(5):
        raw = await reader.read()
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    body = json.loads(body)
    assert set(body) <= {"error", "message", "retry_after"}
    return int(head.split()[1]), body


async def fine(reader):
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        return int(head.split()[1]), await reader.readexactly(length)


async def drip(writer, pieces, every=0.05):
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(every)
        await writer.drain()


async def test_a_head_that_drips_in_is_cut_off_however_busily_it_drips(server):
    _, port = await server(head_seconds=0.3)
    reader, writer = await opened(port)
    task = asyncio.create_task(drip(writer, [HEAD, *[b"a: b\r\n"] * 100]))
    status, body = await refused(reader)
    task.cancel()
    assert (status, body["error"]) == (408, "invalid_request")
    writer.close()


async def test_a_connection_that_never_says_a_word_is_closed(server):
    _, port = await server(head_seconds=0.2)
    reader, writer = await opened(port)
    assert (await refused(reader))[0] == 408
    writer.close()


async def test_the_second_request_of_a_connection_may_not_drip_in_either(server):
    _, port = await server(head_seconds=0.3)
    reader, writer = await opened(port)
    writer.write(HEAD + b"\r\n")
    assert await fine(reader) == (200, b"/")
    task = asyncio.create_task(drip(writer, [HEAD, *[b"a: b\r\n"] * 100]))
    assert (await refused(reader))[0] == 408
    task.cancel()
    writer.close()


async def test_empty_lines_do_not_keep_a_connection_open(server):
    _, port = await server(head_seconds=0.3)
    reader, writer = await opened(port)
    writer.write(HEAD + b"\r\n")
    assert await fine(reader) == (200, b"/")
    task = asyncio.create_task(drip(writer, [b"\r\n"] * 100))
    assert (await refused(reader))[0] == 408
    task.cancel()
    writer.close()


async def test_half_a_request_does_not_end_the_one_that_is_being_answered(server):
    _, port = await server(head_seconds=0.2)
    reader, writer = await opened(port)
    writer.write(b"GET /later HTTP/1.1\r\nHost: x\r\n\r\n" + HEAD)
    assert await fine(reader) == (200, b"/later")
    assert (await refused(reader))[0] == 408
    writer.close()


async def test_a_long_body_or_many_requests_on_one_connection_are_no_trouble(server):
    _, port = await server(head_seconds=0.3)
    reader, writer = await opened(port)
    body = b"x" * (4 * MAX_HEAD)
    post = b"POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    for _ in range(5):
        writer.write(post)
        await asyncio.sleep(0.15)  # longer than a head may take, all in all
        writer.write(body)
        assert await fine(reader) == (200, b"/post")
    writer.write((HEAD + b"\r\n") * 3)
    for _ in range(3):
        assert await fine(reader) == (200, b"/")
    writer.close()


async def test_an_endless_head_is_refused_before_it_fills_the_memory(server):
    _, port = await server(head_seconds=5)
    reader, writer = await opened(port)
    writer.write(HEAD + b"a: " + b"a" * MAX_HEAD)
    status, body = await refused(reader)
    assert (status, body["error"]) == (413, "too_large")
    writer.close()

    reader, writer = await opened(port)
    with pytest.raises(ConnectionError):
        await drip(writer, [HEAD + b"a: ", *[b"a" * 8192] * 10_000], every=0)
        await writer.drain()


async def test_what_is_not_http_is_told_so_in_json(server):
    _, port = await server()
    reader, writer = await opened(port)
    writer.write(b"\x16\x03\x01\x02\x00\x01\r\n\r\n")  # a TLS client at the wrong door
    status, body = await refused(reader)
    assert (status, body["error"]) == (400, "invalid_request")
    writer.close()


async def test_who_does_not_read_the_answer_is_cut_off(server):
    _, port = await server(read_seconds=0.3)
    with socket.create_connection(("127.0.0.1", port)) as lazy:
        lazy.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0.8)
        received = 0

        def read_all():
            nonlocal received
            lazy.settimeout(5)
            while piece := lazy.recv(2**20):
                received += len(piece)

        with pytest.raises(ConnectionResetError):
            await asyncio.to_thread(read_all)
    assert received < 2**23


async def test_one_address_may_have_so_many_connections_and_others_do_not_notice(server):
    protocol, port = await server(most=3, crowds=SimpleNamespace(of=str))
    crowd = [await opened(port, "127.0.0.2") for _ in range(3)]
    reader, writer = await opened(port, "127.0.0.2")
    status, body = await refused(reader)
    assert (status, body["error"]) == (429, "rate_limited")
    assert body["retry_after"] > 0
    writer.close()

    reader, writer = await opened(port, "127.0.0.3")
    writer.write(HEAD + b"\r\n")
    assert await fine(reader) == (200, b"/")
    crowd[0][1].close()
    await until(lambda: protocol.open_by_crowd["127.0.0.2"] == 2)
    reader, again = await opened(port, "127.0.0.2")
    again.write(HEAD + b"\r\n")
    assert await fine(reader) == (200, b"/")
    for _, other in [*crowd, (reader, again), (reader, writer)]:
        other.close()
    await until(lambda: not protocol.open_by_crowd)  # nothing is remembered of who has left


async def test_a_proxy_on_this_machine_may_have_any_number(server):
    _, port = await server(most=1)
    several = [await opened(port) for _ in range(5)]
    for reader, writer in several:
        writer.write(HEAD + b"\r\n")
        assert await fine(reader) == (200, b"/")
        writer.close()


@pytest.mark.parametrize(
    ("peer", "crowd"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("10.1.2.3", None),
        ("127.0.0.1", None),
        ("::1", None),
        ("", None),
    ],
)
def test_a_home_is_one_crowd_and_proxies_are_none(peer, crowd):
    assert Crowds(("10.0.0.0/8", "fd00::/8")).of(peer) == crowd
