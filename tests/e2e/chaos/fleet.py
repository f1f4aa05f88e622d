"""Volunteers for the chaos test, in one process: over HTTP with real `TrackerClient`s, or at the
queue itself, as a tracker's own process is."""

import argparse
import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import TextIO

from redis.exceptions import RedisError

from laion_protocol import FailureClass, LeaseLost, NotFound, TrackerError
from laion_protocol.client import TrackerClient
from laion_protocol.messages import (
    Completion,
    Failure,
    Heartbeat,
    Lease,
    LeaseRequest,
    Progress,
    Receipt,
    Release,
)
from tracker.connection import connect
from tracker.queue import HeldLease, JobQueue
from tracker.shard_store import shard_prefix
from tracker.storage import LocalStore

from .volunteer import FILE, SHARD, Given, Volunteer, Way

CRAWL = "CC-CHAOS"
LEASE = timedelta(seconds=3)


class OverHttp:
    """Each call goes to any of the trackers."""

    def __init__(self, clients: list[TrackerClient], worker: str, shard: Path) -> None:
        self._clients, self._worker, self._shard = clients, worker, shard

    async def held(self) -> list[Given]:
        return [_given(row) for row in (await self._any.held_leases(self._worker)).leases]

    async def lease(self) -> Given | None:
        answer = await self._any.lease(LeaseRequest(worker=self._worker, version="1.0"))
        return None if answer.lease is None else _given(answer.lease)

    async def release(self, given: Given) -> None:
        await self._any.release(given.lease_id, Release())

    async def fail(self, given: Given, blame: FailureClass) -> None:
        await self._any.fail(given.lease_id, Failure(failure_class=blame, message="chaos"))

    async def beat(self, given: Given) -> None:
        await self._any.heartbeat(given.lease_id, Heartbeat())

    async def upload(self, given: Given) -> None:
        [slot] = (await self._any.plan_uploads(given.lease_id, (FILE,))).slots
        if not slot.present:
            await self._any.upload_file(slot, self._shard)

    async def complete(self, given: Given) -> Receipt:
        return await self._any.complete(given.lease_id, Completion(manifest=given.manifest))

    @property
    def _any(self) -> TrackerClient:
        return random.choice(self._clients)


class AtTheQueue:
    """What a tracker does for its callers, without the callers."""

    def __init__(self, queue: JobQueue, store: LocalStore, account: str, worker: str) -> None:
        self._queue, self._store, self._account = queue, store, account
        self._worker = worker

    async def held(self) -> list[Given]:
        return [await self._described(row) for row in await self._queue.held(*self._who)]

    async def lease(self) -> Given | None:
        found = await self._queue.lease(CRAWL, *self._who)
        return await self._described(found) if isinstance(found, HeldLease) else None

    async def release(self, given: Given) -> None:
        await self._queue.release(given.lease_id, self._account, "chaos")

    async def fail(self, given: Given, blame: FailureClass) -> None:
        await self._queue.fail(given.lease_id, self._account, blame, "chaos")

    async def beat(self, given: Given) -> None:
        await self._queue.extend(given.lease_id, self._account, Progress())

    async def upload(self, given: Given) -> None:
        async def body() -> AsyncIterator[bytes]:
            yield SHARD

        prefix = shard_prefix(given.lease_id)
        await self._store.put(prefix, FILE.name, body(), size=FILE.size, sha256=FILE.sha256)

    async def complete(self, given: Given) -> Receipt:
        return await self._queue.complete(given.lease_id, self._account, given.manifest)

    @property
    def _who(self) -> tuple[str, str]:
        return self._account, self._worker

    async def _described(self, held: HeldLease) -> Given:
        chunk = await self._queue.chunk(held.job)
        return Given(held.lease_id, chunk.source, chunk.part, chunk.parts)


def _given(lease: Lease) -> Given:
    return Given(lease.lease_id, lease.source, lease.part, lease.parts)


async def volunteer(way: Way, diary: TextIO) -> None:
    """For ever; a lost lease is dropped, and after any other trouble it starts over."""
    one, resumes = Volunteer(way, diary), True
    while True:
        try:
            if resumes:
                await one.resume()
            await one.work()
        except (LeaseLost, NotFound):
            resumes = False
        except (TrackerError, RedisError, OSError) as error:
            print(repr(error), flush=True)  # noqa: T201
            resumes = True
            await asyncio.sleep(0.2)


async def main(options: argparse.Namespace) -> None:
    accounts = json.loads(options.tokens.read_text())
    shard = options.diary.with_suffix(".shard")
    shard.write_bytes(SHARD)
    async with AsyncExitStack() as exit:
        diary = exit.enter_context(options.diary.open("a"))
        ways: list[Way] = []
        [first, *_] = options.urls
        if first.startswith("redis"):
            redis = await exit.enter_async_context(connect(first))
            queue = JobQueue(redis, lease_duration=LEASE)
            store = LocalStore(options.tokens.parent / "data")
        for number in range(options.volunteers):
            account, worker = accounts[number % len(accounts)], f"{options.diary.stem}-{number}"
            if first.startswith("redis"):
                ways.append(AtTheQueue(queue, store, account["name"], worker))
                continue
            clients = [
                await exit.enter_async_context(TrackerClient(url, account["token"], patience=60))
                for url in options.urls
            ]
            ways.append(OverHttp(clients, worker, shard))
        async with asyncio.TaskGroup() as tasks:
            for way in ways:
                tasks.create_task(volunteer(way, diary))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("urls", nargs="+")
    parser.add_argument("--tokens", type=Path, required=True)
    parser.add_argument("--diary", type=Path, required=True)
    parser.add_argument("--volunteers", type=int, required=True)
    parser.add_argument("--clock-offset", type=float, required=True)
    chosen = parser.parse_args()
    real_time = time.time
    time.time = lambda: real_time() + chosen.clock_offset
    asyncio.run(main(chosen))
