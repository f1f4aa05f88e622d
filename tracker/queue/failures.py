"""`Failures`: which attempts a worker is to blame for; `lua/_failures.lua` writes them down."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from redis.asyncio import Redis

from laion_protocol import Outcome

from . import keys
from .replies import to_time


@dataclass(slots=True, frozen=True, order=True)
class Failure:
    """One attempt that expired, was rejected, or failed by its worker's fault."""

    ended_at: datetime
    leased_at: datetime
    outcome: Outcome


class Failures:
    """Of each worker and crawl the last 20, since a result was accepted or they were forgiven."""

    def __init__(self, redis: Redis) -> None:
        """Use `redis`, made with `decode_responses=True`; the caller closes it."""
        self._redis: Any = redis

    async def of(self, crawls: Iterable[str], account: str, worker: str) -> tuple[Failure, ...]:
        """In order of time, over these crawls."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for crawl in crawls:
                pipe.lrange(keys.failures(crawl, account, worker), 0, -1)
            found = await pipe.execute()
        return tuple(sorted(_failure(row) for rows in found for row in rows))

    async def forgive(self, crawls: Iterable[str], account: str, workers: Iterable[str]) -> None:
        """Forget what speaks against these workers; safe to repeat."""
        names = list(workers)
        async with self._redis.pipeline(transaction=False) as pipe:
            for crawl in crawls:
                for worker in names:
                    pipe.delete(keys.failures(crawl, account, worker))
            await pipe.execute()


def _failure(row: str) -> Failure:
    leased_at, ended_at, outcome = row.split(" ")
    return Failure(to_time(ended_at), to_time(leased_at), Outcome(outcome))
