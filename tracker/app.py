"""`create_app`: the one place where the tracker is put together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, TypedDict

from fastapi import FastAPI
from redis.asyncio import Redis

from .admission import Admission
from .append_file import AppendFile
from .audience import Audience
from .audit import Audit
from .books import Books
from .connection import connect
from .dedupe import Dedupe
from .dedupe.rebuild import Rebuild
from .events import EventLog
from .idempotency import Answers
from .identity import Accounts, AddressHasher, DeviceLogins, Gate, Workers, address_key
from .leasing import Leasing
from .meter import Meter
from .model_files import ModelFiles
from .model_sides import ModelSides
from .open_store import open_store
from .project import Project
from .queue import Failures, JobQueue
from .queue.selection import Selections
from .queue.undo import Actions
from .resources import Resources
from .routes import (
    admin,
    admin_jobs,
    admin_project,
    admin_workers,
    crawls,
    dedupe,
    delegations,
    device_page,
    devices,
    errors,
    events,
    files,
    health,
    inputs,
    leases,
    me,
    metrics,
    stats,
    uploads,
    workers,
)
from .routes.beats import Beats
from .routes.limits import Limits
from .settings import Settings
from .stats import Statistics
from .troubles import Troubles
from .turnstile import Turnstile
from .verifier import Verifier
from .verify import ShardChecker

_ROUTERS: Final = (
    leases, uploads, inputs, dedupe, files, stats, events, crawls, admin, admin_jobs, admin_workers,
    admin_project, delegations, devices, device_page, me, workers, health, metrics,
)  # fmt: skip


class State(TypedDict):
    """What the lifespan hands to every request (`request.state`)."""

    resources: Resources


def create_app(settings: Settings) -> FastAPI:
    """The tracker as an ASGI app. Its verifier runs as long as the app does."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
        async with connect(settings.redis_url) as redis:
            resources = _build(redis, settings)
            verifier = Verifier(
                resources.queue, resources.store, ShardChecker(), settings, resources.dedupe,
                Books(redis),
            )  # fmt: skip
            tasks = {
                asyncio.create_task(verifier.run()),
                asyncio.create_task(resources.meter.run()),
                asyncio.create_task(AppendFile(redis).run()),
                asyncio.create_task(resources.rebuild.watch()),
            }
            try:
                yield {"resources": resources}
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                await resources.rebuild.stop()

    app = FastAPI(title="LAION crawl tracker", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(Beats)
    app.add_middleware(Limits, seconds=settings.body_seconds)
    errors.install(app)
    for module in _ROUTERS:
        app.include_router(module.router)
    return app


def _build(redis: Redis, settings: Settings) -> Resources:
    queue = JobQueue(
        redis,
        lease_duration=settings.lease_duration,
        max_held=settings.max_held,
        max_held_account=settings.max_held_account,
        max_lease=settings.max_lease,
    )
    store = open_store(settings)
    statistics = Statistics(redis, queue, silent_for=2 * settings.heartbeat)
    project, failures, troubles = Project(redis), Failures(redis), Troubles(redis)
    meter = Meter(redis, troubles)
    admission = Admission(project, failures, troubles, store, statistics, settings)
    model_files = ModelFiles(settings.data, store)
    dedupe_files = Dedupe(
        settings.data / "dedupe",
        redis,
        capacity=settings.dedupe_pairs,
        reserve_for=settings.dedupe_reserve.total_seconds(),
        settle=settings.dedupe_settle.total_seconds(),
    )
    return Resources(
        settings=settings,
        redis=redis,
        queue=queue,
        selections=Selections(redis, queue),
        actions=Actions(redis),
        events=EventLog(redis),
        accounts=Accounts(redis),
        addresses=AddressHasher(address_key(settings.data), settings.trusted_proxies),
        answers=Answers(redis),
        devices=DeviceLogins(redis),
        gate=Gate(redis, settings.rates),
        workers=Workers(redis),
        audit=Audit(redis),
        project=project,
        failures=failures,
        meter=meter,
        turnstile=Turnstile(
            at_once=settings.leases_at_once,
            patience=settings.lease_patience,
            most_waiting=settings.max_lease_queue,
        ),
        leasing=Leasing(queue, store, admission, project, meter, ModelSides(model_files), settings),
        statistics=statistics,
        store=store,
        files=model_files,
        dedupe=dedupe_files,
        rebuild=Rebuild(
            dedupe_files,
            queue,
            store,
            ShardChecker(),
            takeover=settings.dedupe_takeover.total_seconds(),
        ),
        audience=Audience(most=settings.max_event_streams, each=settings.max_event_streams_each),
    )
