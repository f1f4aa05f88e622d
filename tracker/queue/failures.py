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
    worker: str = ""


class Failures:
    """Of each crawl and worker the last 20, since a result of it was accepted or they were
    forgiven; of each account the last 100, since a result of any of its workers."""

    def __init__(self, redis: Redis) -> None:
        """Use `redis`, made with `decode_responses=True`; the caller closes it."""
        self._redis: Any = redis

    async def of(
        self, crawls: Iterable[str], account: str, worker: str
    ) -> tuple[tuple[Failure, ...], tuple[Failure, ...]]:
        """The worker's, and those of all the account's workers; in order of time, over these
        crawls."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for crawl in crawls:
                pipe.lrange(keys.failures(crawl, account, worker), 0, -1)
                pipe.lrange(keys.failures(crawl, account), 0, -1)
            found = await pipe.execute()
        return _in_order(found[::2]), _in_order(found[1::2])

    async def forgive(self, crawls: Iterable[str], account: str, workers: Iterable[str]) -> None:
        """Forget what speaks against these workers, and against the account; safe to repeat."""
        names = list(workers)
        async with self._redis.pipeline(transaction=False) as pipe:
            for crawl in crawls:
                pipe.delete(keys.failures(crawl, account))
                for worker in names:
                    pipe.delete(keys.failures(crawl, account, worker))
            await pipe.execute()


def _in_order(lists: Iterable[list[str]]) -> tuple[Failure, ...]:
    return tuple(sorted(_failure(row) for rows in lists for row in rows))


def _failure(row: str) -> Failure:
    leased_at, ended_at, outcome, *worker = row.split(" ")  # older rows do not name it
    return Failure(to_time(ended_at), to_time(leased_at), Outcome(outcome), *worker)
