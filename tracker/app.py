"""`create_app`: the one place where the tracker is put together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, TypedDict

from fastapi import FastAPI
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

from .accounts import Accounts
from .audit import Audit
from .events import EventLog
from .leasing import Leasing
from .model_files import ModelFiles
from .queue import JobQueue
from .resources import Resources
from .routes import (
    admin,
    crawls,
    delegations,
    errors,
    events,
    files,
    health,
    leases,
    stats,
    uploads,
)
from .routes.limits import Limits
from .settings import Settings
from .stats import Statistics
from .storage import LocalStore
from .verifier import Verifier
from .verify import ShardChecker

_CONNECTIONS: Final = 64
_ROUTERS: Final = (leases, uploads, files, stats, events, crawls, admin, delegations, health)


class State(TypedDict):
    """What the lifespan hands to every request (`request.state`)."""

    resources: Resources


def create_app(settings: Settings) -> FastAPI:
    """The tracker as an ASGI app. Its verifier runs as long as the app does."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
        async with connect(settings.redis_url) as redis:
            resources = _build(redis, settings)
            verifier = Verifier(resources.queue, resources.store, ShardChecker(), settings)
            task = asyncio.create_task(verifier.run())
            try:
                yield {"resources": resources}
            finally:
                task.cancel()
                await asyncio.wait({task})

    app = FastAPI(title="LAION crawl tracker", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(Limits, seconds=settings.body_seconds)
    errors.install(app)
    for module in _ROUTERS:
        app.include_router(module.router)
    return app


@asynccontextmanager
async def connect(redis_url: str) -> AsyncIterator[Redis]:
    """A client that waits for a free connection instead of failing, and gives up on a silent
    server after five seconds."""
    pool = BlockingConnectionPool.from_url(
        redis_url,
        decode_responses=True,
        max_connections=_CONNECTIONS,
        timeout=10,
        socket_timeout=5,
        socket_connect_timeout=5,
        health_check_interval=30,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), 2),
    )
    redis = Redis.from_pool(pool)
    try:
        yield redis
    finally:
        await redis.aclose()


def _build(redis: Redis, settings: Settings) -> Resources:
    queue = JobQueue(redis, lease_duration=settings.lease_duration, max_held=settings.max_held)
    store = LocalStore(settings.data)
    statistics = Statistics(redis, queue, silent_for=2 * settings.heartbeat)
    return Resources(
        settings=settings,
        redis=redis,
        queue=queue,
        events=EventLog(redis),
        accounts=Accounts(redis),
        audit=Audit(redis),
        leasing=Leasing(queue, store, statistics, settings),
        statistics=statistics,
        store=store,
        files=ModelFiles(settings.data),
        streams=asyncio.Semaphore(settings.max_event_streams),
    )
