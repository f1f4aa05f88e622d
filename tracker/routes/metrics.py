"""`/metrics`: for Prometheus. The same totals whichever process of the tracker answers."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from fastapi import APIRouter, Depends, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from tracker.auth import Have, anyone
from tracker.books import Books
from tracker.memory import free_memory
from tracker.meter import BUCKETS, Key
from tracker.redis_check import redis_memory
from tracker.resources import Resources

from .errors import refusals

router = APIRouter(tags=["health"])

#: name -> what it counts, and its labels
COUNTERS: Final = {
    "requests": ("Answers, by route and status", ("method", "route", "status")),
    "leases": ("Answers to lease requests: leased, or the reason why not", ("answer",)),
    "intermediates_lost": ("Jobs fetched anew because the store lost their intermediate", ()),
}
_JOBS: Final = ("total", "pending", "leased", "verifying", "accepted", "dead")


@router.get(
    "/metrics",
    dependencies=[Depends(anyone)],
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, **refusals()},
)
async def metrics(have: Have) -> Response:
    """Counters of all processes since the tracker's beginning, and how things stand now."""
    families = [
        *_counters(await have.meter.totals()),
        *await _crawls(have),
        *await _now(have),
        *await _dedupe(have),
    ]
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Found(families))
    return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


class _Found(Collector):
    """What was found, as the library wants to be told it."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """All of it."""
        return self._families


def _counters(totals: dict[Key, int]) -> Iterator[Metric]:
    for name, (text, labels) in COUNTERS.items():
        family = CounterMetricFamily(f"laion_{name}", text, labels=labels)
        for (metric, *values), total in sorted(totals.items()):
            if metric == name:
                family.add_metric(values, total)
        yield family
    yield _seconds(totals)


def _seconds(totals: dict[Key, int]) -> Metric:
    """What the process told by bucket, as Prometheus wants it: each bucket holds the lower ones."""
    text = "Seconds until an answer began to leave"
    family = HistogramMetricFamily("laion_answer_seconds", text, labels=("call",))
    buckets: defaultdict[str, dict[int, int]] = defaultdict(dict)
    for (metric, *values), total in totals.items():
        if metric == "answer_bucket":
            buckets[values[0]][int(values[1])] = total
    for call, found in sorted(buckets.items()):
        rows, below = [], 0
        for index, end in enumerate([*map(str, BUCKETS), "+Inf"]):
            below += found.get(index, 0)
            rows.append((end, below))
        family.add_metric([call], rows, totals.get(("answer_microseconds", call), 0) / 1e6)
    return family


async def _crawls(have: Resources) -> list[Metric]:
    jobs = GaugeMetricFamily("laion_jobs", "Jobs of a crawl", labels=("crawl", "state"))
    stale = GaugeMetricFamily("laion_stale_leases", "Leases without heartbeats", labels=("crawl",))
    kept = GaugeMetricFamily("laion_kept_samples", "Rows of accepted shards", labels=("crawl",))
    for crawl in await have.statistics.crawls():
        for state in _JOBS:
            jobs.add_metric([crawl.name, state], getattr(crawl.jobs, state))
        stale.add_metric([crawl.name], crawl.stale)
        kept.add_metric([crawl.name], crawl.kept)
    return [jobs, stale, kept]


async def _now(have: Resources) -> list[Metric]:
    state, books = await have.project.state(), await Books(have.redis).last()
    memory, free = await redis_memory(have.redis), free_memory()
    return [
        GaugeMetricFamily("laion_redis_bytes", "Memory that Redis uses", value=memory.used),
        GaugeMetricFamily(
            "laion_redis_max_bytes", "Its maxmemory; 0 sets no bound", value=memory.most
        ),
        *(
            [GaugeMetricFamily("laion_free_memory_bytes", "Left on this machine", value=free)]
            if free is not None
            else []
        ),
        GaugeMetricFamily(
            "laion_workers_active", "Workers seen in 5 minutes", value=await have.workers.active()
        ),
        GaugeMetricFamily(
            "laion_free_bytes", "Room for shards", value=await have.store.free_bytes()
        ),
        GaugeMetricFamily(
            "laion_paused", "1 while the project is paused", value=int(state.paused is not None)
        ),
        GaugeMetricFamily(
            "laion_maintenance", "1 while it rests", value=int(state.maintenance is not None)
        ),
        GaugeMetricFamily(
            "laion_books_differences",
            "Records of the queue that disagreed when they were last compared, and were not mended",
            value=books.left if books else 0,
        ),
        GaugeMetricFamily(
            "laion_books_checked_seconds",
            "When that was, Unix time",
            value=books.checked_at.timestamp() if books else 0,
        ),
    ]


async def _dedupe(have: Resources) -> list[Metric]:
    """As the machine with the dedupe files told it, some seconds ago; nothing before it did."""
    told = await have.dedupe.home.told()
    if told is None:
        return []
    pairs = CounterMetricFamily(
        "laion_dedupe_pairs_total",
        "Pairs that workers asked about, by answer; and what became of them",
        labels=("what",),
    )  # fmt: skip
    for what in ("asked", "new", "known", "taken", "unreserved", "committed", "freed"):
        pairs.add_metric([what], getattr(told, what))
    questions = CounterMetricFamily(
        "laion_dedupe_questions_total", "Questions without any new pair, and refused ones",
        labels=("what",),
    )  # fmt: skip
    for what in ("suspicious", "refused"):
        questions.add_metric([what], getattr(told, what))
    gauges = {
        "laion_dedupe_reserved": ("Pairs reserved now", told.reserved),
        "laion_dedupe_slots": (
            "Slots for reservations, as far as the table has grown",
            told.reservation_slots,
        ),
        "laion_dedupe_holders": ("Attempts that have reservations", told.holders),
        "laion_dedupe_held": ("Pairs in the filters", sum(one.held for one in told.filters)),
        "laion_dedupe_capacity": (
            "Pairs they were made for",
            sum(one.capacity for one in told.filters),
        ),
        "laion_dedupe_false_positives": (
            "How often a new pair is taken for known",
            told.false_positives_now,
        ),
        "laion_dedupe_elsewhere": ("Shards whose pairs only a rebuild makes known", told.elsewhere),
        "laion_dedupe_told_seconds": ("When it was so, Unix time", told.at.timestamp()),
    }
    return [
        pairs,
        questions,
        *(GaugeMetricFamily(name, text, value=value) for name, (text, value) in gauges.items()),
    ]
