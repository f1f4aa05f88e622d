"""`Volunteer`: leases, beats, uploads and completes, with a volunteer's moods.

Some send twice, some come late, some hand back, some fail, some just stop. It works over whatever
`Way` it is given; every call may go to another tracker than the one before.
"""

import asyncio
import hashlib
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TextIO

from laion_protocol import (
    Counts,
    FailureClass,
    FileEntry,
    Manifest,
    Recipe,
    SourceDigest,
    SourceKind,
)
from laion_protocol.messages import Receipt

RECIPE = Recipe(kind=SourceKind.WARC)
SHARD = b"a shard"
FILE = FileEntry(
    name="shard.parquet", size=len(SHARD), sha256=hashlib.sha256(SHARD).hexdigest()
)  # fmt: skip
PAIRS = 3
_REAL_TIME: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True)
class Given:
    """A lease, as a volunteer needs it."""

    lease_id: str
    source: str
    part: int
    parts: int

    @property
    def manifest(self) -> Manifest:
        return Manifest(
            recipe_sha256=RECIPE.sha256, worker_version="1.0", filter_version="1",
            model_sha256="0" * 64, counts=Counts(pairs=PAIRS, kept=PAIRS), seconds=1,
            files=(FILE,),
            source=SourceDigest(
                path=self.source, part=self.part, parts=self.parts, first_byte=0, end_byte=1,
                pairs_sha256="0" * 64,
            ),
        )  # fmt: skip


class Way(Protocol):
    """How a volunteer's calls get to the queue."""

    async def held(self) -> list[Given]: ...
    async def lease(self) -> Given | None: ...
    async def release(self, given: Given) -> None: ...
    async def fail(self, given: Given, blame: FailureClass) -> None: ...
    async def beat(self, given: Given) -> None: ...
    async def upload(self, given: Given) -> None: ...
    async def complete(self, given: Given) -> Receipt: ...


class Volunteer:
    """Every answer to a completion goes into a diary, one JSON line each, written before the next
    call: a killed process leaves a diary of what it was told."""

    def __init__(self, way: Way, diary: TextIO) -> None:
        self._way, self._diary = way, diary

    async def resume(self) -> None:
        """After a crash: what it still holds."""
        for held in await self._way.held():
            await self._do(held)

    async def work(self) -> None:
        """For ever, or until something is refused."""
        while True:
            given = await self._way.lease()
            if given is None:
                await asyncio.sleep(0.2)
            else:
                await self._do(given)

    async def _do(self, given: Given) -> None:
        mood = random.random()
        if mood < 0.03:
            await self._way.release(given)
            return
        if mood < 0.05:
            await self._way.fail(given, random.choice(list(FailureClass)))
            return
        if mood < 0.07:
            return  # it goes away without a word
        if mood < 0.10:
            await asyncio.sleep(4)  # longer than the lease lasts
        elif mood < 0.4:
            await self._way.beat(given)
        await self._way.upload(given)
        for _ in range(2 if mood > 0.9 else 1):
            note(self._diary, given.lease_id, await self._way.complete(given))


def note(diary: TextIO, lease_id: str, receipt: Receipt) -> None:
    """One line: who was told what, and when by a clock that is right."""
    row = [_REAL_TIME(), lease_id, receipt.state, receipt.outcome]
    diary.write(json.dumps(row) + "\n")
    diary.flush()
