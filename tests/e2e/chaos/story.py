"""One run of the chaos test, from an empty directory to the facts that must hold."""

import asyncio
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from laion_protocol import TrackerError
from laion_protocol.client import TrackerClient
from laion_protocol.messages import NewAccount, NewCrawl
from tests.tracker.redis_servers import free_port
from tracker.queue import JobQueue, JobRef

from .durable_file import WRITTEN_WITHIN, DurableFile, Loss
from .fleet import CRAWL
from .line import Line
from .parts import Part, fleet_command, redis_command, tracker_command, verifier_command
from .reckoning import Facts, reckon
from .volunteer import RECIPE

PARTS = 50
CLOCK_OFFSETS = (600.0, -600.0)  #: seconds: volunteers' clocks are not to be trusted
#: Seconds before the first power cut: nobody sets up the crawl and the accounts again.
SETTLED = 3.5
DECK = ["redis"] * 2 + ["line"] * 2 + ["pause"] + ["part"] * 3  #: shuffled, again and again
LONGEST_PAUSE = 4.0  #: seconds: longer than a lease, and than a verifier has a shard for itself


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much of what."""

    jobs: int
    faults: int  #: at least; they go on until the jobs are done if `until_done`
    appendfsync: str
    seed: int
    volunteers: int = 12  #: in each process
    accounts: int = 6
    at_the_queue: int = 0  #: processes of volunteers that spare the web
    until_done: bool = False
    rest: float = 0.5  #: seconds between faults, on average
    patience: float = 90.0  #: seconds for the work to be done after the last fault


class Story:
    """The parts, the killing, and the reckoning."""

    def __init__(
        self,
        directory: Path,
        redis_server: str,
        plan: Plan,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._directory, self._plan, self._tell = directory, plan, tell
        self._random = random.Random(plan.seed)
        self._redis_port = free_port()
        redis = redis_command(redis_server, self._redis_port, directory, plan.appendfsync)
        self._redis = Part("redis", redis, directory / "redis.log")
        self._file = DurableFile(directory)
        self._parts: list[Part] = []
        self._lines: list[Line] = []
        self._losses: list[Loss] = []
        self._power_cuts = 0
        self._deck: list[str] = []

    async def run(self) -> Facts:
        """Let the fleet do the jobs, break everything meanwhile, then wait for the end."""
        began = time.monotonic()
        watch = asyncio.create_task(self._file.watch())
        try:
            await self._start()
            await self._break_things()
            await self._wait_for_the_end()
            for part in self._parts:
                part.stop()
            async with self._direct() as redis:
                facts = await reckon(redis, self._directory, self._plan.jobs, self._losses)
        finally:
            watch.cancel()
            for part in (*self._parts, self._redis):
                part.stop()
            for line in self._lines:
                await line.close()
        self._count(facts)
        facts.seconds = time.monotonic() - began
        return facts

    # ── the parts ────────────────────────────────────────────────────────────────────────────────

    async def _start(self) -> None:
        self._redis.start()
        await self._redis_answers()
        data = self._directory / "data"
        ports, urls = [free_port() for _ in range(2)], []
        for number, port in enumerate(ports):  # two trackers on one Redis, at the same time
            command = tracker_command(data, port, await self._line(self._redis_port))
            self._part(f"tracker-{number}", command).start()
        for port, tracker in zip(ports, self._parts, strict=True):
            await _answers(f"http://127.0.0.1:{port}", tracker)
            urls.append(f"http://127.0.0.1:{await self._line(port)}")
        tokens = self._directory / "tokens.json"
        tokens.write_text(json.dumps(await self._settle(urls[0])))
        volunteers = self._plan.volunteers
        for number, offset in enumerate(CLOCK_OFFSETS):
            diary = self._directory / f"fleet{number}.diary"
            command = fleet_command(urls, tokens, diary, volunteers, offset)
            self._part(f"fleet-{number}", command).start()
        for number in range(self._plan.at_the_queue):
            diary = self._directory / f"queue{number}.diary"
            url = f"redis://127.0.0.1:{await self._line(self._redis_port)}/0"
            command = fleet_command([url], tokens, diary, volunteers, 0.0)
            self._part(f"queue-{number}", command).start()
        for number in range(2):
            diary = self._directory / f"verifier{number}.diary"
            command = verifier_command(data, await self._line(self._redis_port), diary)
            self._part(f"verifier-{number}", command).start()

    async def _settle(self, url: str) -> list[dict[str, str]]:
        """The crawl, and an account for each few volunteers."""
        token = (self._directory / "data" / "admin-token").read_text().strip()
        async with TrackerClient(url, token, patience=30) as admin:
            paths = tuple(f"warc/{n}.warc.gz" for n in range(self._plan.jobs // PARTS))
            await admin.add_crawl(
                NewCrawl(name=CRAWL, base="https://x.test/", paths=paths, parts=PARTS,
                         recipe=RECIPE, seed=1)
            )  # fmt: skip
            async with self._direct() as redis:  # a failed job waits half a minute
                meta = f"crawl:{{{CRAWL}}}:meta"
                await redis.hset(meta, mapping={"delay_ms": 200, "max_delay_ms": 1000})
            names = [f"a{n}" for n in range(self._plan.accounts)]
            accounts = [await admin.add_account(NewAccount(name=name)) for name in names]
        return [
            {"name": name, "token": account.token}
            for name, account in zip(names, accounts, strict=True)
        ]

    def _part(self, name: str, command: Sequence[str]) -> Part:
        self._parts.append(Part(name, command, self._directory / f"{name}.log"))
        return self._parts[-1]

    async def _line(self, target: int) -> int:
        self._lines.append(Line(target))
        return await self._lines[-1].start()

    def _direct(self) -> Redis:
        """A client that no broken line keeps from Redis."""
        return Redis(port=self._redis_port, decode_responses=True)

    # ── the killing ──────────────────────────────────────────────────────────────────────────────

    async def _break_things(self) -> None:
        began, faults, rest = time.monotonic(), 0, self._plan.rest
        told_at = began
        while faults < self._plan.faults or self._plan.until_done:
            await asyncio.sleep(self._random.uniform(0.2, 1.8) * rest)
            await self._break_something(time.monotonic() - began > SETTLED)
            self._revive()
            faults += 1
            if time.monotonic() - told_at > 5:
                told_at, done = time.monotonic(), await self._accepted()
                self._tell(f"{done} of {self._plan.jobs} accepted, {faults} faults")
                if done == self._plan.jobs:
                    return
        await self._kill_redis(power_too=True)

    async def _break_something(self, settled: bool) -> None:
        self._deck = self._deck or self._random.sample(DECK, len(DECK))
        kind, some_time = self._deck.pop(), self._random.uniform(0.05, 0.8)
        if kind == "redis":
            await self._kill_redis(power_too=settled and self._random.random() < 0.7)
        elif kind == "line":
            line = self._random.choice(self._lines)
            await self._random.choice(line.ways_to_break)(some_time)
        elif kind == "pause":
            part = self._random.choice([*self._parts, self._redis])
            await part.pause(self._random.uniform(0.5, LONGEST_PAUSE))
        else:
            part = self._random.choice(self._parts)
            part.kill()
            await asyncio.sleep(some_time / 2)
            part.start()

    async def _kill_redis(self, *, power_too: bool) -> None:
        """With `always`, all that was answered is on disk: a power cut is a kill."""
        await self._file_is_whole()
        self._redis.kill()
        sure_until = ended = time.time()
        everysec = self._plan.appendfsync == "everysec"
        if everysec and power_too:
            sure_until = self._file.cut_back(self._random)
            self._power_cuts += 1
        await asyncio.sleep(self._random.uniform(0, 0.5))
        self._redis.start()
        await self._redis_answers()
        if everysec:
            self._losses.append(Loss(sure_until - WRITTEN_WITHIN, ended, time.time()))

    async def _file_is_whole(self) -> None:
        """A Redis that dies twice within a second may mix two scripts (`append_file.py`); the
        trackers see to it that it may die again then."""
        async with asyncio.timeout(60), self._direct() as redis:
            while (await redis.info("persistence"))["aof_last_rewrite_time_sec"] < 0:
                self._revive()
                await asyncio.sleep(0.1)

    def _revive(self) -> None:
        """What ended by itself, as a tracker does that finds no Redis at its start: as systemd
        would, start it again."""
        for part in self._parts:
            if part.has_ended:
                part.start()

    async def _redis_answers(self) -> None:
        async with asyncio.timeout(60), self._direct() as probe:
            while True:
                try:
                    await probe.ping()
                    return
                except (RedisError, OSError):
                    assert not self._redis.has_ended, self._redis.log.read_text()[-2000:]
                    await asyncio.sleep(0.02)

    async def _wait_for_the_end(self) -> None:
        end = time.monotonic() + self._plan.patience
        while time.monotonic() < end and await self._accepted() < self._plan.jobs:
            self._revive()
            await asyncio.sleep(0.2)

    async def _accepted(self) -> int:
        """How many; and an admin looks after the dead."""
        async with self._direct() as redis:
            queue = JobQueue(redis)
            counts = (await queue.stats(CRAWL, silent_for=timedelta(seconds=6))).jobs
            if counts.dead:
                dead = await redis.zrange(f"crawl:{{{CRAWL}}}:dead", 0, -1)
                await queue.requeue([JobRef(CRAWL, int(j)) for j in dead], "chaos goes on")
        return counts.accepted

    def _count(self, facts: Facts) -> None:
        for part in (*self._parts, self._redis):
            facts.faults["kills"] += part.kills
            facts.faults["pauses"] += part.pauses
            log = part.log.read_text(errors="replace")
            if "Traceback" in log and part.name.startswith(("tracker", "verifier")):
                facts.tracebacks.append(f"{part.name}: {log[log.index('Traceback') :][:3000]}")
        for line in self._lines:
            facts.faults += line.faults
        facts.faults["redis"] = self._redis.kills
        facts.faults["power"] = self._power_cuts


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
