"""`Books`: do the queue's records agree with each other?

Every change is one script, so they always should. What a disk, an operator's hand or a fault of
ours did is found here: each job that was handed out must be in exactly one place, the indexes must
name jobs that are where they say, and the counters must be what the accepted jobs add up to.

A sweep works in slices of some milliseconds with pauses between them, on the live data. Each slice
is atomic, so what it finds is not the trace of something under way.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from redis.asyncio import Redis

from laion_protocol import NotFound

from .queue import keys
from .queue.ids import new_secret
from .queue.permutation import Permutation
from .queue.reader import QueueReader
from .queue.scripts import Script

_JOBS: Final = Script("books_jobs", "tracker.queue")
_STRAYS: Final = Script("books_strays", "tracker.queue")
_HELD: Final = Script("books_held", "tracker.queue")
_TOTALS: Final = Script("books_totals", "tracker.queue")

_PLACES: Final = ("retry", "score", "leases", "beats", "verifying", "dead")
_SLICE: Final = 200  #: jobs; about two milliseconds
_LEAST: Final = 50
_MOST: Final = 0.01  #: seconds that a slice should take
_SCAN: Final = 500
_REST: Final = 4  #: times as long as a slice took, the sweep waits
_EXAMPLES: Final = 20
_TRIES: Final = 3
_LAST_KEY: Final = "{store}:books"
_DUE_KEY: Final = "{store}:books-due"
EVERY: Final = timedelta(hours=1)


@dataclass(slots=True)
class Balance:
    """What a sweep found. `found` counts differences by kind; `examples` name some of them."""

    jobs: int = 0  #: that were looked at
    found: Counter[str] = field(default_factory=Counter)
    repaired: int = 0
    examples: list[str] = field(default_factory=list)
    longest: float = 0.0  #: seconds that Redis was busy with one slice, at most

    @property
    def differences(self) -> int:
        """How many there were, repaired or not."""
        return self.found.total()

    def add(self, kind: str, what: str, repaired: bool) -> None:
        """One difference."""
        self.found[kind] += 1
        self.repaired += repaired
        if len(self.examples) < _EXAMPLES:
            self.examples.append(f"{kind}: {what}")

    def merge(self, other: "Balance") -> None:
        """What another sweep found, too."""
        self.jobs += other.jobs
        self.found += other.found
        self.repaired += other.repaired
        self.examples = (self.examples + other.examples)[:_EXAMPLES]
        self.longest = max(self.longest, other.longest)


@dataclass(slots=True, frozen=True)
class LastSweep:
    """When the books were last checked, by any tracker on this Redis, and with what result."""

    checked_at: datetime
    jobs: int
    differences: int
    repaired: int

    @property
    def left(self) -> int:
        """What is still wrong."""
        return self.differences - self.repaired


class Books:
    """Checks, and repairs if it is told to."""

    def __init__(self, redis: Redis) -> None:
        """Use `redis`, made with `decode_responses=True`; the caller closes it."""
        self._redis: Any = redis
        self._reader = QueueReader(redis)
        self._took = 0.0  # seconds, by the last slice

    async def sweep(self, *, repair: bool = False) -> Balance:
        """Check all crawls."""
        balance = Balance()
        for crawl in await self._reader.crawls():
            try:
                balance.merge(await self.check(crawl.name, repair=repair))
            except NotFound:  # removed meanwhile
                continue
        fields = {
            "checked_at": time.time(),
            "jobs": balance.jobs,
            "differences": balance.differences,
            "repaired": balance.repaired,
        }
        await self._redis.hset(_LAST_KEY, mapping=fields)
        return balance

    async def sweep_if_due(self) -> Balance | None:
        """Check all crawls, unless some tracker did within the last hour. Repairs nothing: what
        went wrong should be seen by somebody."""
        if not await self._redis.set(_DUE_KEY, "1", nx=True, ex=int(EVERY.total_seconds())):
            return None
        return await self.sweep()

    async def last(self) -> LastSweep | None:
        """The last sweep."""
        found = await self._redis.hgetall(_LAST_KEY)
        if not found:
            return None
        return LastSweep(
            checked_at=datetime.fromtimestamp(float(found["checked_at"]), UTC),
            jobs=int(found["jobs"]),
            differences=int(found["differences"]),
            repaired=int(found["repaired"]),
        )

    async def check(self, crawl: str, *, repair: bool = False) -> Balance:
        """Check one crawl.

        Raises:
            NotFound: no such crawl.
        """
        balance = Balance()
        # Strays first: a cursor that is set right makes lost jobs known to the check of the jobs.
        await self._check_strays(crawl, balance, repair)
        await self._check_jobs(crawl, balance, repair)
        await self._check_held(crawl, balance, repair)
        await self._check_totals(crawl, balance, repair)
        return balance

    async def _check_jobs(self, crawl: str, balance: Balance, repair: bool) -> None:
        position, size = 0, _SLICE
        while looked := await self._slice(_JOBS, crawl, balance, position, size, int(repair)):
            position += looked
            balance.jobs += looked
            # by the last slice: a Redis that was busy for a moment is not so for ever
            size = min(_SLICE, 2 * size) if self._took < _MOST else max(_LEAST, size // 2)

    async def _check_strays(self, crawl: str, balance: Balance, repair: bool) -> None:
        row = await self._reader.crawl(crawl)
        order = Permutation(row.jobs, row.seed)
        for place in (*_PLACES, "finished"):
            cursor = int(await self._redis.hget(keys.meta(crawl), "cursor") or 0)
            async for members in self._members(crawl, place):
                odd: list[str | int] = []
                for member in members:
                    valid = member.isdecimal() and int(member) < row.jobs
                    position = order.position(int(member)) if valid else -1
                    if not 0 <= position < cursor:
                        odd += [member, position]
                if odd:  # asked again, now that the cursor may have moved on
                    await self._slice(_STRAYS, crawl, balance, place, int(repair), *odd)

    async def _check_held(self, crawl: str, balance: Balance, repair: bool) -> None:
        prefix = keys.meta(crawl).removesuffix("meta") + "held:"
        pattern = prefix.replace("[", "\\[") + "*"
        async for key in self._redis.scan_iter(match=pattern, count=_SCAN):
            account, _, worker = str(key).removeprefix(prefix).partition("/")
            cursor = None
            while cursor != 0:
                cursor, jobs = await self._redis.sscan(key, cursor or 0, count=_SCAN)
                if jobs:
                    await self._slice(_HELD, crawl, balance, int(repair), account, worker, *jobs)

    async def _check_totals(self, crawl: str, balance: Balance, repair: bool) -> None:
        for _ in range(_TRIES):
            _, now, counts, credits = await self._run(_TOTALS, crawl)
            sums, unsure = await self._recount(crawl, int(now))
            if unsure:  # a job was accepted in that very millisecond
                continue
            noted = _to_dict(counts) | {
                name: value
                for name, value in _to_dict(credits).items()
                if not name.startswith("fetched:")  # given for what may be gone by now
            }
            relevant = {"kept", "pairs", "bytes"} | {name for name in noted if ":" in name}
            relevant = {name for name in relevant | set(sums) if not name.startswith("drop:")}
            wrong = {
                name: sums[name] - noted.get(name, 0)
                for name in sorted(relevant)
                if sums[name] != noted.get(name, 0)
            }
            for name, by in wrong.items():
                balance.add("counter", f"{crawl} {name} is off by {-by}", repair)
            if wrong and repair:
                corrections = [part for item in wrong.items() for part in item]
                await self._run(_TOTALS, crawl, new_secret(), *corrections)
            return

    async def _recount(self, crawl: str, before: int) -> tuple[Counter[str], bool]:
        """What the records of jobs accepted before this time add up to; and whether one has that
        very time."""
        sums: Counter[str] = Counter()
        seen: set[int] = set()  # a scan may name one twice
        unsure = False
        async for j, record in self._records(crawl):
            fields = record.split(" ")
            accepted_at = int(fields[8])
            unsure = unsure or accepted_at == before
            if accepted_at >= before or j in seen:
                continue
            seen.add(j)
            account, kept, pairs, size = fields[1], *map(int, fields[5:8])
            sums.update(
                {
                    "kept": kept,
                    "pairs": pairs,
                    "bytes": size,
                    f"jobs:{account}": 1,
                    f"kept:{account}": kept,
                }
            )
        return sums, unsure

    async def _records(self, crawl: str) -> AsyncIterator[tuple[int, str]]:
        key, cursor = keys.meta(crawl).removesuffix("meta") + "finished", None
        while cursor != 0:
            cursor, found = await self._redis.hscan(key, cursor or 0, count=_SCAN)
            for j, record in found.items():
                if j.isdecimal():
                    yield int(j), record
            await asyncio.sleep(0)

    async def _members(self, crawl: str, place: str) -> AsyncIterator[list[str]]:
        key, cursor = keys.meta(crawl).removesuffix("meta") + place, None
        scan = self._redis.hscan if place == "finished" else self._redis.zscan
        while cursor != 0:
            cursor, found = await scan(key, cursor or 0, count=_SCAN)
            yield list(found) if place == "finished" else [member for member, _ in found]

    async def _slice(self, script: Script, crawl: str, balance: Balance, *args: str | int) -> int:
        """One atomic look; how many it looked at."""
        started = time.monotonic()
        _, looked, found = await self._run(script, crawl, *args)
        took = self._took = time.monotonic() - started
        balance.longest = max(balance.longest, took)
        for kind, what, repaired in found:
            balance.add(kind, f"{crawl}/{what}", bool(repaired))
        await asyncio.sleep(min(took, _MOST) * _REST)
        return int(looked)

    async def _run(self, script: Script, crawl: str, *args: str | int) -> Any:
        answer = await script(self._redis, keys.meta(crawl), *args)
        if answer[0] == "no_crawl":
            raise NotFound(f"there is no crawl {crawl!r}")
        return answer


def _to_dict(pairs: list[str]) -> dict[str, int]:
    return {name: int(value) for name, value in zip(pairs[::2], pairs[1::2], strict=True)}
