"""A tracker's real `Verifier`, but for the check itself: every shard that is whole is good.

What is tested is the books and the store, not the check. What the queue answers to an acceptance
goes into a diary before anything else happens.
"""

import asyncio
import logging
import random
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, TextIO

from redis.asyncio import Redis

from laion_protocol import Counts, Manifest, Recipe
from laion_protocol.messages import Receipt
from tracker.books import Books
from tracker.connection import connect
from tracker.queue import JobQueue
from tracker.settings import Settings
from tracker.storage import LocalStore
from tracker.verifier import Verifier
from tracker.verify import ShardChecker, Verdict

from .volunteer import SHARD, note

BYTES = len(SHARD)


class Noting(JobQueue):
    """Writes down what was accepted; now and then it asks twice, as after a lost answer."""

    def __init__(self, redis: Redis, diary: TextIO, **options: Any) -> None:
        super().__init__(redis, **options)
        self._diary = diary

    async def accept(self, lease_id: str, counts: Counts, size: int, *, claim: str = "") -> Receipt:
        for _ in range(2 if random.random() < 0.1 else 1):
            receipt = await super().accept(lease_id, counts, size, claim=claim)
            note(self._diary, lease_id, receipt)
        return receipt


class Believing(ShardChecker):
    """A shard is good if each of its files is there."""

    async def check(self, directory: Path, manifest: Manifest, recipe: Recipe, **_: Any) -> Verdict:
        for file in manifest.files:
            path = directory / file.name
            if not path.exists() or path.read_bytes() != SHARD:
                return Verdict(accepted=False, reason=f"{file.name} is not there")
        return Verdict(accepted=True, rows=manifest.counts.kept, bytes=BYTES)


async def main(data: Path, url: str, diary: Path) -> None:
    logging.basicConfig(level=logging.INFO)
    settings = Settings(
        data=data, redis_url=url, checkers=3, min_free_bytes=0,
        reap_every=timedelta(seconds=0.5), claim_visibility=timedelta(seconds=2),
    )  # fmt: skip
    with diary.open("a") as told:
        async with connect(url) as redis:
            queue = Noting(redis, told)
            store = LocalStore(data)
            await Verifier(queue, store, Believing(), settings, books=Books(redis)).run()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])))
