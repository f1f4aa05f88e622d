"""Volunteers for the chaos test: real `TrackerClient`s that lease, beat, upload and complete.

Every answer to a completion goes into a diary, one JSON line each, written before the next call: a
killed process leaves a diary of what it was told. Some volunteers send twice, some come late, some
hand back, some fail, some just stop.
"""

import argparse
import asyncio
import hashlib
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from laion_protocol import (
    Counts,
    FailureClass,
    FileEntry,
    LeaseLost,
    Manifest,
    Recipe,
    SourceDigest,
    SourceKind,
    TrackerError,
)
from laion_protocol.client import TrackerClient
from laion_protocol.messages import (
    Completion,
    Failure,
    Heartbeat,
    Lease,
    LeaseRequest,
    Receipt,
    Release,
)

RECIPE = Recipe(kind=SourceKind.WARC)
VOLUNTEERS = 12  #: in one process
SHARD = b"a shard"


def manifest(lease: Lease) -> Manifest:
    digest = hashlib.sha256(SHARD).hexdigest()
    return Manifest(
        recipe_sha256=lease.recipe_sha256, worker_version="1.0", filter_version="1",
        model_sha256="0" * 64, counts=Counts(pairs=3, kept=3), seconds=1,
        files=(FileEntry(name="shard.parquet", size=len(SHARD), sha256=digest),),
        source=SourceDigest(
            path=lease.source, part=lease.part, parts=lease.parts, first_byte=0, end_byte=1,
            pairs_sha256="0" * 64,
        ),
    )  # fmt: skip


class Volunteer:
    def __init__(self, client: TrackerClient, name: str, diary: TextIO, shard: Path) -> None:
        self._client, self._name, self._diary, self._shard = client, name, diary, shard

    async def work(self) -> None:
        for held in (await self._client.held_leases(self._name)).leases:  # after a crash
            await self._do(held)
        while True:
            answer = await self._client.lease(LeaseRequest(worker=self._name, version="1.0"))
            if answer.lease is not None:
                await self._do(answer.lease)
            elif answer.idle is not None:
                await asyncio.sleep(answer.idle.retry_after)

    async def _do(self, lease: Lease) -> None:
        mood = random.random()
        lease_id = lease.lease_id
        if mood < 0.03:
            await self._client.release(lease_id, Release())
            return
        if mood < 0.05:
            blame = random.choice(list(FailureClass))
            await self._client.fail(lease_id, Failure(failure_class=blame, message="chaos"))
            return
        if mood < 0.07:
            return  # it goes away without a word
        if mood < 0.10:
            await asyncio.sleep(4)  # longer than the lease lasts
        elif mood < 0.4:
            await self._client.heartbeat(lease_id, Heartbeat())
        slots = await self._client.plan_uploads(lease_id, manifest(lease).files)
        for slot in slots.slots:
            if not slot.present:
                await self._client.upload_file(slot, self._shard)
        for _ in range(2 if mood > 0.9 else 1):
            receipt = await self._client.complete(lease_id, Completion(manifest=manifest(lease)))
            self._note(lease, receipt)

    def _note(self, lease: Lease, receipt: Receipt) -> None:
        row = {"time": _REAL_TIME(), "lease": lease.lease_id, "job": lease.job}
        self._diary.write(json.dumps(row | receipt.model_dump(mode="json")) + "\n")
        self._diary.flush()


_REAL_TIME: Callable[[], float] = time.time


async def volunteer(url: str, token: str, name: str, diary: TextIO, shard: Path) -> None:
    """For ever; one who is refused anything starts over, as a new process would."""
    async with TrackerClient(url, token, patience=60) as client:
        while True:
            try:
                await Volunteer(client, name, diary, shard).work()
            except LeaseLost:
                continue
            except TrackerError as error:
                print(f"{name}: {error!r}", flush=True)  # noqa: T201
                await asyncio.sleep(0.2)


async def main(options: argparse.Namespace) -> None:
    tokens: list[dict[str, Any]] = json.loads(options.tokens.read_text())
    shard = options.diary.with_suffix(".shard")
    shard.write_bytes(SHARD)
    with options.diary.open("a") as diary:
        async with asyncio.TaskGroup() as tasks:
            for number in range(VOLUNTEERS):
                row, url = tokens[number % len(tokens)], options.urls[number % len(options.urls)]
                name = f"{options.diary.stem}-{number}"
                tasks.create_task(volunteer(url, row["token"], name, diary, shard))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("urls", nargs="+")
    parser.add_argument("--tokens", type=Path, required=True)
    parser.add_argument("--diary", type=Path, required=True)
    parser.add_argument("--clock-offset", type=float, required=True)
    chosen = parser.parse_args()
    time.time = lambda: _REAL_TIME() + chosen.clock_offset
    asyncio.run(main(chosen))
