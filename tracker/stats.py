"""`Statistics`: the same numbers for page, bot and others."""

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Final

from redis.asyncio import Redis

from laion_protocol import CrawlState, NotFound
from laion_protocol.messages import CrawlStats, Leaderboard, LeaderboardRow, Stats

from .identity import Workers
from .queue import JobQueue, QueueStats

#: Anybody may ask for statistics; Redis is asked at most four times a second.
_FRESH: Final = 0.25
_MAX_ROWS: Final = 100
_MINUTE: Final = 60.0  # shorter is no basis for a rate
_HOUR: Final = 3600.0


class Statistics:
    """Reads the queue's counters, and keeps note of which workers are there.

    Args:
        silent_for: a lease without a heartbeat for so long counts as stale.
    """

    def __init__(self, redis: Redis, queue: JobQueue, *, silent_for: timedelta) -> None:
        self._workers = Workers(redis)
        self._queue = queue
        self._silent_for = silent_for
        self._lock = asyncio.Lock()
        self._crawls: tuple[CrawlStats, ...] = ()
        self._read_at = -_FRESH

    async def workers_active(self) -> int:
        """How many workers were seen within the last five minutes."""
        return await self._workers.active()

    async def crawls(self) -> tuple[CrawlStats, ...]:
        """Every crawl's numbers, at most a quarter of a second old."""
        async with self._lock:  # many who ask at once are answered by one reading
            if time.monotonic() - self._read_at >= _FRESH:
                self._crawls = await self._read()
                self._read_at = time.monotonic()
        return self._crawls

    async def overview(self, accounts: int) -> Stats:
        """Everything in one answer."""
        return Stats(
            time=datetime.now(UTC),
            crawls=await self.crawls(),
            workers_active=await self.workers_active(),
            accounts=accounts,
        )

    async def backlog(self) -> int:
        """Shards that wait to be checked, over all crawls."""
        return sum(crawl.jobs.verifying for crawl in await self.crawls())

    async def leaderboard(self) -> Leaderboard:
        """The accounts with the most kept samples; who has as many has the same rank."""
        jobs: Counter[str] = Counter()
        kept: Counter[str] = Counter()
        fetched: Counter[str] = Counter()
        for crawl in await self._queue.crawls():
            for account, credit in (await self._queue.credits(crawl.name)).items():
                jobs[account] += credit.jobs
                kept[account] += credit.kept
                fetched[account] += credit.fetched
        order = sorted(jobs, key=lambda a: (-kept[a], -jobs[a], -fetched[a], a))
        rows: list[LeaderboardRow] = []
        for place, account in enumerate(order[:_MAX_ROWS], start=1):
            tied = rows and rows[-1].kept == kept[account]
            rows.append(
                LeaderboardRow(
                    rank=rows[-1].rank if tied else place,
                    account=account,
                    jobs=jobs[account],
                    kept=kept[account],
                    fetched=fetched[account],
                )
            )
        return Leaderboard(rows=tuple(rows))

    async def _read(self) -> tuple[CrawlStats, ...]:
        found = []
        for crawl in await self._queue.crawls():
            try:
                stats = await self._queue.stats(crawl.name, silent_for=self._silent_for)
            except NotFound:  # removed meanwhile
                continue
            found.append(_crawl_stats(stats, datetime.now(UTC) - crawl.added_at))
        return tuple(found)


def _crawl_stats(stats: QueueStats, age: timedelta) -> CrawlStats:
    jobs = stats.jobs
    left = jobs.total - jobs.accepted - jobs.dead
    finished = stats.state is CrawlState.FINISHED  # what is left is handed out to nobody
    return CrawlStats(
        name=stats.name,
        state=stats.state,
        jobs=jobs,
        attempts=stats.attempts,
        pairs=stats.pairs,
        kept=stats.kept,
        drops=dict(stats.drops),
        bytes=stats.bytes,
        accepted_last_hour=stats.accepted_last_hour,
        accepted_last_day=stats.accepted_last_day,
        stale=stats.stale,
        scoring=stats.scoring,
        eta_seconds=None if finished else eta_seconds(left, stats.accepted_last_hour, age),
    )


def eta_seconds(left: int, accepted_last_hour: int, age: timedelta) -> float | None:
    """How long `left` jobs take at the last hour's rate, or since the crawl was added if that is
    less; None while nothing was accepted."""
    if not accepted_last_hour:
        return None
    window = min(_HOUR, max(_MINUTE, age.total_seconds()))
    return left * window / accepted_last_hour
