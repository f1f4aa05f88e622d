"""One run of the chaos test, from an empty directory to the facts that must hold."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from laion_protocol import TrackerError
from laion_protocol.client import TrackerClient
from laion_protocol.messages import NewAccount, NewCrawl
from tests.tracker.redis_servers import free_port
from tracker.books import Books
from tracker.events import BEGINNING, EventLog
from tracker.queue import JobQueue, JobRef

from .fleet import RECIPE
from .parts import (
    Line,
    Part,
    fleet_command,
    redis_command,
    tracker_command,
    verifier_command,
)

CRAWL = "CC-CHAOS"
PARTS = 50
ACCOUNTS = 6
CLOCK_OFFSETS = (600.0, -600.0)  #: seconds: volunteers' clocks are not to be trusted


@dataclass
class Facts:
    """What a run did, and what was true at its end."""

    jobs: int
    accepted: int = 0
    accepted_twice: list[str] = field(default_factory=list)
    promises_broken: list[dict[str, Any]] = field(default_factory=list)
    promises: int = 0
    attempts: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    counts: dict[str, int] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)
    kills: dict[str, int] = field(default_factory=dict)
    cuts: int = 0
    tracebacks: list[str] = field(default_factory=list)
    redis_killed_at: list[float] = field(default_factory=list)
    seconds: float = 0.0


class Story:
    """The parts, the killing, and the reckoning."""

    def __init__(self, directory: Path, redis_server: str, appendfsync: str, seed: int) -> None:
        self._directory, self._random = directory, random.Random(seed)
        self._redis_port = free_port()
        redis = redis_command(redis_server, self._redis_port, directory, appendfsync)
        self._redis = Part("redis", redis, directory / "redis.log")
        self._parts: list[Part] = []
        self._lines: list[Line] = []
        self._redis_killed_at: list[float] = []

    async def run(self, jobs: int, killing: float, patience: float) -> Facts:
        """Let the fleet do `jobs` jobs, kill and cut for `killing` seconds, then wait."""
        began = time.monotonic()
        try:
            await self._start(jobs)
            await self._kill_and_cut(killing)
            await self._wait_for_the_end(jobs, patience)
            facts = await self._reckon(jobs)
        finally:
            for part in (*self._parts, self._redis):
                part.stop()
            for line in self._lines:
                await line.close()
        facts.seconds = time.monotonic() - began
        return facts

    # ── the parts ────────────────────────────────────────────────────────────────────────────────

    async def _start(self, jobs: int) -> None:
        self._redis.start()
        await self._redis_answers()
        redis_line = await self._line(self._redis_port)
        urls, trackers = [], []
        for number in range(2):  # two trackers, one store
            port = free_port()
            command = tracker_command(self._directory / "data", port, redis_line)
            trackers.append(self._part(f"tracker-{number}", command))
            trackers[-1].start()
            urls.append(f"http://127.0.0.1:{await self._line(port)}")
            await _answers(f"http://127.0.0.1:{port}", trackers[-1])
        token = (self._directory / "data" / "admin-token").read_text().strip()
        async with TrackerClient(urls[0], token, patience=30) as admin:
            paths = tuple(f"warc/{n}.warc.gz" for n in range(jobs // PARTS))
            await admin.add_crawl(
                NewCrawl(name=CRAWL, base="https://x.test/", paths=paths, parts=PARTS,
                         recipe=RECIPE, seed=1)
            )  # fmt: skip
            async with Redis(port=self._redis_port) as redis:  # a failed job waits half a minute
                meta = f"crawl:{{{CRAWL}}}:meta"
                await redis.hset(meta, mapping={"delay_ms": 200, "max_delay_ms": 1000})
            tokens = [
                (await admin.add_account(NewAccount(name=f"a{n}"))).model_dump(mode="json")
                for n in range(ACCOUNTS)
            ]
        (self._directory / "tokens.json").write_text(json.dumps(tokens))
        for number, offset in enumerate(CLOCK_OFFSETS):
            diary = self._directory / f"fleet{number}.diary"
            command = fleet_command(urls, self._directory / "tokens.json", diary, offset)
            self._part(f"fleet-{number}", command).start()
        for number in range(2):
            command = verifier_command(redis_line, self._directory / f"verifier{number}.told")
            self._part(f"verifier-{number}", command).start()

    def _part(self, name: str, command: Sequence[str]) -> Part:
        self._parts.append(Part(name, command, self._directory / f"{name}.log"))
        return self._parts[-1]

    async def _line(self, target: int) -> int:
        self._lines.append(Line(target))
        return await self._lines[-1].start()

    # ── the killing ──────────────────────────────────────────────────────────────────────────────

    async def _kill_and_cut(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(self._random.uniform(0.2, 0.9))
            victim = self._random.random()
            if victim < 0.25:
                await self._kill_redis()
            elif victim < 0.45:
                await self._random.choice(self._lines).cut(self._random.uniform(0.05, 0.8))
            else:
                part = self._random.choice(self._parts)
                part.kill()
                await asyncio.sleep(self._random.uniform(0, 0.4))
                part.start()
            self._revive()

    async def _kill_redis(self) -> None:
        self._redis.kill()
        self._redis_killed_at.append(time.time())
        await asyncio.sleep(self._random.uniform(0, 0.5))
        self._redis.start()
        await self._redis_answers()

    def _revive(self) -> None:
        """What ended by itself, as a tracker does that finds no Redis at its start: as systemd
        would, start it again."""
        for part in self._parts:
            if part.has_ended:
                part.start()

    async def _redis_answers(self) -> None:
        async with asyncio.timeout(30), Redis(port=self._redis_port) as probe:
            while True:
                try:
                    await probe.ping()
                    return
                except (RedisError, OSError):
                    await asyncio.sleep(0.02)

    async def _wait_for_the_end(self, jobs: int, patience: float) -> None:
        end = time.monotonic() + patience
        async with Redis(port=self._redis_port, decode_responses=True) as redis:
            queue = JobQueue(redis)
            while time.monotonic() < end:
                self._revive()
                counts = (await queue.stats(CRAWL, silent_for=timedelta(seconds=6))).jobs
                if counts.accepted == jobs:
                    return
                if counts.dead:  # an admin looks
                    dead = await redis.zrange(f"crawl:{{{CRAWL}}}:dead", 0, -1)
                    await queue.requeue([JobRef(CRAWL, int(j)) for j in dead], "chaos is over")
                await asyncio.sleep(0.2)

    # ── the reckoning ────────────────────────────────────────────────────────────────────────────

    async def _reckon(self, jobs: int) -> Facts:
        facts = Facts(jobs, redis_killed_at=self._redis_killed_at)
        for part in (*self._parts, self._redis):
            facts.kills[part.name] = part.kills
            log = part.log.read_text(errors="replace")
            if "Traceback" in log and part.name.startswith("tracker"):
                facts.tracebacks.append(f"{part.name}: {log[log.index('Traceback') :][:3000]}")
        facts.cuts = sum(line.cuts for line in self._lines)
        async with Redis(port=self._redis_port, decode_responses=True) as redis:
            queue = JobQueue(redis)
            stats = await queue.stats(CRAWL, silent_for=timedelta(seconds=6))
            facts.accepted, facts.attempts = stats.jobs.accepted, stats.attempts
            facts.counts = {"pairs": stats.pairs, "kept": stats.kept, "bytes": stats.bytes}
            credits = await queue.credits(CRAWL)
            facts.counts["credited"] = sum(credit.jobs for credit in credits.values())
            winners = {}
            for index in range(jobs):
                view = await queue.job(JobRef(CRAWL, index))
                if view.finished is not None:
                    winners[str(view.job)] = view.finished
                    facts.outcomes[view.finished.outcome] += 1
            facts.differences = (await Books(redis).sweep()).examples
            facts.accepted_twice = await _accepted_twice(EventLog(redis))
        for row in self._told("*.told"):
            facts.promises += 1
            winner = winners.get(row["job"])
            if winner is None:
                facts.promises_broken.append(row)
        for row in self._told("*.diary"):
            facts.promises += 1
            if row["job"] not in winners:
                facts.promises_broken.append(row)
        return facts

    def _told(self, pattern: str) -> list[dict[str, Any]]:
        rows = []
        for diary in sorted(self._directory.glob(pattern)):
            for line in diary.read_text().splitlines():
                if line.endswith("}"):  # the last line of a killed process may be half
                    rows.append(json.loads(line))
        return rows


async def _accepted_twice(events: EventLog) -> list[str]:
    seen: Counter[str] = Counter()
    cursor = BEGINNING
    while found := await events.read(cursor, 1000):
        cursor = found[-1].cursor
        seen.update(e.event.job for e in found if e.event.type == "shard_accepted")
    return [job for job, times in seen.items() if times > 1]


async def _answers(url: str, tracker: Part) -> None:
    async with asyncio.timeout(60):
        while True:
            assert not tracker.has_ended, tracker.log.read_text()[-2000:]
            try:
                async with TrackerClient(url, None, patience=0) as client:
                    await client.stats()
                    return
            except (TrackerError, OSError):
                await asyncio.sleep(0.1)
