"""What must be true when the killing is over: `reckon` looks at the queue, the store and at what
everybody was told."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from redis.asyncio import Redis

from laion_protocol import Outcome
from tracker.books import Books
from tracker.orphans import Orphans
from tracker.queue import JobQueue, keys
from tracker.shard_store import DESCRIPTION, lease_of, shard_prefix
from tracker.storage import LocalStore

from .durable_file import Loss
from .fleet import CRAWL
from .verifier import BYTES
from .volunteer import FILE, PAIRS

_ACCEPTED = (Outcome.OK, Outcome.LATE_OK)
_EXAMPLES = 20


@dataclass
class Facts:
    """What a run did, and what was true at its end."""

    jobs: int
    accepted: int = 0
    late: int = 0
    over_http: int = 0
    accepted_twice: int = 0
    answers: int = 0  #: to completions and acceptances, noted down by whoever got them
    answers_broken: list[str] = field(default_factory=list)
    answers_lost: int = 0  #: with Redis's last moments; allowed with `everysec` only
    oldest_lost: float = 0.0  #: seconds before Redis's end
    miscounted: dict[str, int] = field(default_factory=dict)
    books: list[str] = field(default_factory=list)
    store: list[str] = field(default_factory=list)
    orphans: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    tracebacks: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def lost(self) -> int:
        return self.jobs - self.accepted

    @property
    def wrong(self) -> list[str]:
        """Everything that must not be, in words; empty if all is well."""
        counted = [f"{name} is off by {by}" for name, by in self.miscounted.items()]
        found = [*self.answers_broken, *counted, *self.books, *self.store, *self.tracebacks]
        if self.lost:
            found.insert(0, f"{self.lost} of {self.jobs} jobs are lost")
        if self.accepted_twice:
            found.insert(0, f"{self.accepted_twice} jobs were accepted twice")
        return found


async def reckon(redis: Redis, directory: Path, jobs: int, losses: list[Loss]) -> Facts:
    """The facts, in a queue and a store that nobody uses any more."""
    facts, queue = Facts(jobs), JobQueue(redis)
    winners = await _winners(redis, facts)
    credited = sum(credit.jobs for credit in (await queue.credits(CRAWL)).values())
    facts.accepted_twice = credited - len(winners)
    stats = await queue.stats(CRAWL, silent_for=timedelta(0))
    counted = {"pairs": stats.pairs, "kept": stats.kept, "bytes": stats.bytes}
    due = {"pairs": PAIRS * jobs, "kept": PAIRS * jobs, "bytes": BYTES * jobs}
    facts.miscounted = {
        name: counted[name] - due[name] for name in due if counted[name] != due[name]
    }
    facts.books = (await Books(redis).sweep()).examples
    _hold_to_their_word(directory, winners, losses, facts)
    await _look_at_the_store(queue, directory, winners, facts)
    return facts


async def _winners(redis: Redis, facts: Facts) -> set[str]:
    """The leases whose shards are in the dataset."""
    winners, seen = set(), set()
    async for job, record in redis.hscan_iter(keys.finished(CRAWL), count=1000):
        if job in seen:  # a scan may tell one twice
            continue
        seen.add(job)
        secret, _, worker, _, late, *_ = record.split(" ")
        winners.add(f"{CRAWL}~{job}~{secret}")
        facts.late += late == "1"
        facts.over_http += worker.startswith("fleet")
    facts.accepted = len(winners)
    return winners


def _hold_to_their_word(
    directory: Path, winners: set[str], losses: list[Loss], facts: Facts
) -> None:
    """Whose shard was taken in, or accepted, has the credit; whom another one beat has not."""
    for answered_at, lease_id, state, outcome in _told(directory):
        facts.answers += 1
        promised = outcome is None or outcome in _ACCEPTED
        if outcome in (None, *_ACCEPTED, Outcome.SUPERSEDED) and promised == (lease_id in winners):
            continue
        excuse = next((loss for loss in losses if loss.excuses(answered_at)), None)
        if excuse is not None:
            facts.answers_lost += 1
            facts.oldest_lost = max(facts.oldest_lost, excuse.ended - answered_at)
        elif len(facts.answers_broken) < _EXAMPLES:
            since = [round(answered_at - loss.ended, 2) for loss in losses]
            near = [seconds for seconds in since if abs(seconds) < 10]
            facts.answers_broken.append(
                f"{lease_id.rpartition('~')[0]} was told {state} {outcome}; seconds since Redis "
                f"died: {near}"
            )


def _told(directory: Path) -> Iterator[tuple[float, str, str, str | None]]:
    for diary in sorted(directory.glob("*.diary")):
        with diary.open() as lines:
            for line in lines:
                if line.endswith("]\n"):  # the last line of a killed process may be half
                    yield tuple(json.loads(line))


async def _look_at_the_store(
    queue: JobQueue, directory: Path, winners: set[str], facts: Facts
) -> None:
    """After a sweep, the store has the winners' shards, whole, and nothing else."""
    store, now = LocalStore(directory / "data"), timedelta(0)
    facts.orphans = await Orphans(queue, store, now).sweep()
    await store.sweep_open(0)
    sealed = {lease_of(prefix) async for prefix in store.sealed(-1)}
    missing = [f"the shard of {lease} is not there" for lease in winners - sealed]
    stray = [f"the shard of {lease} is nobody's" for lease in sealed - winners]
    broken = [
        f"the shard of {lease} has {names}"
        for lease in winners & sealed
        if (names := _names(directory, lease)) != sorted([FILE.name, DESCRIPTION])
    ]
    facts.store = _some([*missing, *stray, *broken])


def _names(directory: Path, lease_id: str) -> list[str]:
    return sorted(
        path.name for path in (directory / "data" / "shards" / shard_prefix(lease_id)).iterdir()
    )


def _some(found: Iterable[str]) -> list[str]:
    return list(found)[:_EXAMPLES]
