"""`Web`: serves a planned site on loopback, and counts who asks for what nobody may ask for."""

import asyncio
import logging
import socket
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote
from zlib import crc32

from aiohttp import web

from .resources import MAX_IMAGE_BYTES, Resource, Serve, body_of
from .site import Site

#: a server within the same city to one across an ocean; fixed per URL, so that runs are alike
LATENCY_SECONDS = (0.02, 0.2)
ARCHIVES_PATH = "/crawl-data/"
#: a worker gives up on a whole transfer sooner
LONGER_THAN_ANYONE_WAITS = 600.0


class Web:
    """The site over HTTP on a listening socket, between `__aenter__` and `__aexit__`.

    Below `archives_url` it also serves the files of a directory, as Common Crawl's server does:
    readers may ask for ranges of bytes. `requests` counts every URL of the site that was
    asked for; `forbidden_requests` those that the plan forbids.
    """

    def __init__(self, site: Site, listener: socket.socket, archives: Path | None = None) -> None:
        self.site = site
        self._archives = archives
        self._resources = {_key(url): resource for url, resource in site.resources.items()}
        self._pages = {_key(page.url): page for page in site.pages}
        self._forbidden = {_key(url) for url in site.forbidden}
        self._listener = listener
        self.requests: Counter[str] = Counter()
        # aiohttp tells of every client that speaks TLS to it, or hangs up: here they all do
        quiet = logging.getLogger("demo.web.server")
        quiet.setLevel(logging.CRITICAL)
        server = web.Server(self._answer, access_log=None, logger=quiet)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)

    @property
    def forbidden_requests(self) -> int:
        """How often somebody asked for a page, or for a URL that only a wrong extraction yields."""
        return sum(n for url, n in self.requests.items() if url in self._forbidden)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.SockSite(self._runner, self._listener, backlog=1024).start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._runner.cleanup()

    @property
    def archives_url(self) -> str:
        """Where the archives are."""
        return f"http://127.0.0.1:{self.site.web_port}{ARCHIVES_PATH}"

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._archives is not None and request.path.startswith(ARCHIVES_PATH):
            path = request.path.removeprefix(ARCHIVES_PATH)
            if ".." in path:
                return web.Response(status=403)
            return web.FileResponse(self._archives / path)
        url = _key(f"http://{request.host}{request.raw_path}")
        self.requests[url] += 1
        low, high = LATENCY_SECONDS
        await asyncio.sleep(low + (high - low) * (crc32(url.encode()) % 1000) / 1000)
        if page := self._pages.get(url):
            return web.Response(body=page.body, headers={"Content-Type": page.content_type})
        resource = self._resources.get(url)
        if resource is None:
            return web.Response(status=404, text="There is no such thing.")
        return await self._serve(resource, request)

    async def _serve(self, resource: Resource, request: web.BaseRequest) -> web.StreamResponse:
        headers = {"Content-Type": resource.mime}
        match resource.serve:
            case Serve.REDIRECT:
                return web.Response(status=302, headers={"Location": resource.location})
            case Serve.RESET:
                if request.transport is not None:
                    request.transport.abort()
                return web.Response()
            case Serve.SILENT | Serve.DRIP | Serve.ENDLESS:
                return await self._never_end(resource, request)
            case Serve.OPTED_OUT:
                headers["X-Robots-Tag"] = "noai, noimageai"
        status = {Serve.MISSING: 404, Serve.FAILING: 500}.get(resource.serve, 200)
        return web.Response(status=status, body=body_of(resource), headers=headers)

    async def _never_end(self, resource: Resource, request: web.BaseRequest) -> web.StreamResponse:
        """Keep the client waiting until it goes away."""
        response = web.StreamResponse(headers={"Content-Type": resource.mime})
        if resource.serve is Serve.SILENT:
            await asyncio.sleep(LONGER_THAN_ANYONE_WAITS)
            return response
        await response.prepare(request)
        try:
            while True:
                if resource.serve is Serve.DRIP:
                    await response.write(b"\xff")
                    await asyncio.sleep(1)
                else:
                    await response.write(bytes(MAX_IMAGE_BYTES // 8))
        except ConnectionError:
            return response  # the client had enough


def _key(url: str) -> str:
    """The URL without percent-encoding: clients differ in what they encode."""
    return unquote(url)
