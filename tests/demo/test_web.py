"""The miniature web does what its plan says."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from PIL import Image
from yarl import URL

from demo.resources import BOMB_SIDE, MAX_IMAGE_BYTES, MIN_IMAGE_BYTES, MIN_SIDE, Serve
from demo.site import Site, expected_drops, plan_site
from demo.trap import Trap, listen_on_ipv6_too, listen_on_loopback
from demo.truth import Truth
from demo.web import Web
from laion_protocol import DropReason


class _Loopback(AbstractResolver):
    """Every name is this machine, as RFC 6761 has it for `*.localhost`."""

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host="127.0.0.1", port=port, family=2, proto=0, flags=0)
        ]

    async def close(self) -> None:
        pass


class World:
    """A running web and trap, and a client that sees them."""

    def __init__(self, web: Web, trap: Trap, site: Site, client: aiohttp.ClientSession) -> None:
        self.web, self.trap, self.site, self.client = web, trap, site, client

    def one(self, serve: Serve, *, location: str = "") -> str:
        """A URL that answers so."""
        return next(
            url
            for url, resource in self.site.resources.items()
            if resource.serve is serve and location in resource.location
        )


@pytest.fixture
async def world() -> AsyncIterator[World]:
    listener, trapped = listen_on_loopback(), listen_on_loopback()
    trap_port = trapped.getsockname()[1]
    site = plan_site(
        pages=60,
        pictures_per_page=10,
        slow=2,
        web_port=listener.getsockname()[1],
        trap_port=trap_port,
    )
    async with AsyncExitStack() as stack:
        web = await stack.enter_async_context(Web(site, listener))
        trap = await stack.enter_async_context(Trap([trapped, *listen_on_ipv6_too(trap_port)]))
        client = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=_Loopback(), limit=20),
                timeout=aiohttp.ClientTimeout(total=20),
            )
        )
        yield World(web, trap, site, client)


async def test_every_matching_pair_leads_to_a_picture_that_the_recipe_takes(world: World) -> None:
    async def look(pair: Truth) -> None:
        async with world.client.get(pair.url) as response:
            body = await response.read()
        assert response.status == 200, pair
        assert MIN_IMAGE_BYTES <= len(body) <= MAX_IMAGE_BYTES
        with Image.open(io.BytesIO(body)) as image:
            assert min(image.size) >= MIN_SIDE
            formats.add(image.format)

    formats: set[str | None] = set()
    pairs = [pair for page in world.site.pages for pair in page.pairs if pair.matching]
    async with asyncio.TaskGroup() as group:
        for pair in pairs:
            group.create_task(look(pair))
    assert formats == {"JPEG", "PNG", "WEBP", "GIF"}
    assert world.web.forbidden_requests == 0


async def test_every_trouble_is_what_its_fate_says(world: World) -> None:
    client, one = world.client, world.one

    async def get(serve: Serve) -> tuple[aiohttp.ClientResponse, bytes]:
        async with client.get(one(serve)) as response:
            return response, await response.read()

    assert (await get(Serve.MISSING))[0].status == 404
    assert (await get(Serve.FAILING))[0].status == 500
    assert (await get(Serve.OPTED_OUT))[0].headers["X-Robots-Tag"] == "noai, noimageai"
    assert (await get(Serve.HTML))[0].content_type == "text/html"
    answer, body = await get(Serve.HTML_AS_JPEG)
    assert (answer.content_type, body[:9]) == ("image/jpeg", b"<!doctype")
    assert (await get(Serve.SVG))[0].content_type == "image/svg+xml"
    assert len((await get(Serve.HUGE))[1]) > MAX_IMAGE_BYTES
    assert len((await get(Serve.DOT))[1]) < MIN_IMAGE_BYTES
    _, body = await get(Serve.SMALL)
    assert len(body) >= MIN_IMAGE_BYTES
    assert min(Image.open(io.BytesIO(body)).size) < MIN_SIDE
    _, body = await get(Serve.TRUNCATED)
    assert len(body) >= MIN_IMAGE_BYTES
    with pytest.raises(OSError, match="truncated"):
        Image.open(io.BytesIO(body)).load()
    assert (await get(Serve.BMP))[1][:2] == b"BM"
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await get(Serve.RESET)


async def test_the_bomb_is_a_small_file_of_many_pixels(world: World) -> None:
    async with world.client.get(world.one(Serve.BOMB)) as response:
        body = await response.read()
    assert MIN_IMAGE_BYTES < len(body) < MAX_IMAGE_BYTES
    with pytest.raises(Image.DecompressionBombError, match=str(BOMB_SIDE**2)):
        Image.open(io.BytesIO(body))


async def test_slow_and_endless_answers_do_not_end(world: World) -> None:
    for serve in (Serve.DRIP, Serve.SILENT):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5), world.client.get(world.one(serve)) as response:
                await response.read()
    received = 0
    async with world.client.get(world.one(Serve.ENDLESS)) as response:
        assert response.content_length is None
        async for piece in response.content.iter_any():
            received += len(piece)
            if received > 4 * MAX_IMAGE_BYTES:
                break
    assert received > 4 * MAX_IMAGE_BYTES


async def test_redirects_lead_where_the_plan_says(world: World) -> None:
    trap = f"http://127.0.0.1:{world.site.trap_port}"
    for target in (trap, "http://169.254.169.254"):
        url = world.one(Serve.REDIRECT, location=target)
        async with world.client.get(url, allow_redirects=False) as response:
            assert (response.status, response.headers["Location"][: len(target)]) == (302, target)
    loop = world.one(Serve.REDIRECT, location="loop")
    with pytest.raises(aiohttp.TooManyRedirects):
        await world.client.get(loop)


async def test_the_web_counts_who_asks_for_a_page_or_a_hidden_picture(world: World) -> None:
    for url in (next(u for u in world.site.forbidden if "hidden" in u), world.site.pages[0].url):
        before = world.web.forbidden_requests
        async with world.client.get(url):
            assert world.web.forbidden_requests == before + 1


async def test_the_trap_counts_connections(world: World) -> None:
    assert world.trap.connections == 0
    with pytest.raises(aiohttp.ClientError):
        await world.client.get(f"http://127.0.0.1:{world.site.trap_port}/")
    assert world.trap.connections >= 1


def test_the_same_seed_plans_the_same_site_and_another_seed_another() -> None:
    def plan(seed: int) -> Site:
        return plan_site(
            pages=20, pictures_per_page=8, slow=1, web_port=8080, trap_port=9090, seed=seed
        )

    assert plan(1).pages == plan(1).pages
    assert plan(1).pages != plan(2).pages


def test_a_site_holds_every_fate_and_no_picture_twice() -> None:
    site = plan_site(pages=60, pictures_per_page=10, slow=2, web_port=8080, trap_port=9090)
    pairs = [pair for page in site.pages for pair in page.pairs]
    drops = expected_drops(pairs)
    never = {
        DropReason.LANGUAGE, DropReason.UNSAFE, DropReason.DECODE_LIMIT, DropReason.KNOWN_PAIR,
    }  # fmt: skip
    assert set(DropReason) - set(drops) <= never
    kept = [(pair.url, pair.text) for pair in pairs if pair.matching]
    assert len(kept) == len(set(kept)) > len(pairs) / 3
    assert not site.forbidden & set(site.resources)
    for stem in ("hidden", "large", "middle", "small"):
        assert any(f"/{stem}-" in url for url in site.forbidden)


def test_every_page_reads_back_from_its_bytes() -> None:
    site = plan_site(pages=20, pictures_per_page=8, slow=0, web_port=8080, trap_port=9090)
    declared = {page.content_type for page in site.pages}
    assert {"text/html", "text/html; charset=iso-8859-1"} <= declared
    for page in site.pages:
        for pair in page.pairs:
            if pair.fate is DropReason.TEXT_TOO_SHORT and pair.text.isascii():
                assert pair.text in page.html
    assert any(page.body.startswith(b"\xff\xfe") for page in site.pages)
    russian = next(p for p in site.pages if p.content_type == "text/html; charset=windows-1251")
    assert "Лучше один раз увидеть" in russian.html
    assert "Лучше один раз увидеть".encode("cp1251") in russian.body


async def test_archives_are_served_in_ranges(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "secret").touch()
    (tmp_path / "open" / "a").write_bytes(b"0123456789")
    with listen_on_loopback() as listener:
        port = listener.getsockname()[1]
        site = plan_site(pages=1, pictures_per_page=3, slow=0, web_port=port, trap_port=1)
        async with Web(site, listener, tmp_path / "open") as web, aiohttp.ClientSession() as client:
            url = f"{web.archives_url}a"
            async with client.get(url, headers={"Range": "bytes=2-4"}) as response:
                assert (response.status, await response.read()) == (206, b"234")
                assert response.headers["Content-Range"] == "bytes 2-4/10"
            above = URL(f"{web.archives_url}%2e%2e/secret", encoded=True)
            async with client.get(above) as response:
                assert response.status == 403
            assert web.forbidden_requests == 0
