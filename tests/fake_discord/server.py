"""`FakeDiscord`: the server, put together from its parts."""

import json
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from .commands import Commands
from .faults import Faults, RateLimits
from .gateway import Gateway
from .messages import MessageStore
from .people import People
from .replies import Replies
from .rest import API, Handler, Rest
from .signal import Signal
from .wire import ApiError, answer
from .world import World

MAX_REQUEST_BYTES = 32 << 20


@dataclass(frozen=True)
class Exchange:
    """One REST request and its answer, for the conformance test."""

    method: str
    path: str
    request: Any
    status: int
    response: Any


class FakeDiscord:
    """A Discord of its own on 127.0.0.1; an async context manager.

    `ack_deadline` is Discord's three-second rule, in seconds; `port` 0 takes a free one.
    """

    def __init__(
        self,
        *,
        token: str = "fake.bot.token",
        heartbeat_ms: int = 41_250,
        ack_deadline: float = 3.0,
        port: int = 0,
    ) -> None:
        self.token = token
        self.world = World()
        self.signal = Signal()
        self.messages = MessageStore()
        self.commands = Commands(self.world.app_id)
        self.gateway = Gateway(self.world, self.signal, token, heartbeat_ms=heartbeat_ms)
        self.replies = Replies(self.world, self.messages, self.gateway)
        self.people = People(
            self.world, self.messages, self.commands, self.gateway, self.replies, ack_deadline
        )
        self.faults = Faults()
        self.rate_limits = RateLimits()
        self.exchanges: list[Exchange] = []
        self.api = self.gateway_url = ""
        self._port = port
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._around], client_max_size=MAX_REQUEST_BYTES)
        rest = Rest(self.world, self.messages, self.commands, self.replies, self.gateway)
        rest.add_routes(app.router)
        for path in ("/gw/", "/"):  # discord.py leaves the path out when it resumes
            app.router.add_get(path, self.gateway.handle)
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        address = f"127.0.0.1:{self._runner.addresses[0][1]}"
        self.api, self.gateway_url = f"http://{address}{API}", f"ws://{address}/gw/"
        self.gateway.url = self.gateway_url
        self.messages.cdn = f"http://{address}/cdn"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.gateway.drop()
        if self._runner is not None:
            await self._runner.cleanup()

    def count(self, method: str, ending: str) -> int:
        """How many requests there were whose path ends so."""
        return sum(one.method == method and one.path.endswith(ending) for one in self.exchanges)

    @web.middleware
    async def _around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Authorization, planned faults, rate limits, errors; and a record of it all."""
        if not request.path.startswith("/api/"):
            return await handler(request)
        response = await self._answer(request, handler)
        if isinstance(response, web.Response):
            self._record(request, await request.read(), response)
        await self.signal.notify()
        return response

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        # an interaction's own token is all that its webhook asks for
        open_to_all = "/webhooks/" in request.path or "/interactions/" in request.path
        if not open_to_all and request.headers.get("Authorization") != f"Bot {self.token}":
            return answer({"message": "401: Unauthorized", "code": 0}, status=401)
        struck = self.faults.strike(request)
        if struck is not None:
            return struck
        headers, refused = self.rate_limits.take(request.method, request.path)
        if refused is not None:
            return refused
        try:
            response = await handler(request)
        except ApiError as error:
            response = answer(error.body, status=error.status)
        response.headers.update(headers)
        return response

    def _record(self, request: web.Request, sent: bytes, response: web.Response) -> None:
        def parsed(content: object, kind: str) -> Any:
            if kind != "application/json" or not isinstance(content, bytes) or not content:
                return None
            return json.loads(content)

        path = request.path.removeprefix(API)
        self.exchanges.append(
            Exchange(
                request.method,
                path,
                parsed(sent, request.content_type),
                response.status,
                parsed(response.body, response.content_type),
            )
        )
