"""Cards: what people are shown, as data. Pure; Discord and a terminal render the same card.

A plain `str` in a line may hold anything that a stranger typed: renderers escape it. Only the
types below carry form, so no name can bring its own.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from laion_protocol.events import (
    CrawlAddedEvent,
    CrawlFinished,
    CrawlStateChanged,
    Event,
    JobDied,
    ShardAccepted,
)
from laion_protocol.messages import CrawlStats, OpenJob
from laion_protocol.states import CrawlState

from .project import Snapshot

TITLE = "LAION crawl"
#: longest name shown whole; the protocol's names have at most 64 characters
MAX_NAME = 40
MAX_CRAWLS = 4
MAX_RECENT = 6
MAX_JOBS = 10
BAR_CELLS = 20
_NOW_IT = {
    CrawlState.ACTIVE: "hands out jobs again",
    CrawlState.PAUSED: "is paused",
    CrawlState.DRAINING: "is draining, no more jobs are handed out",
    CrawlState.FINISHED: "is closed",
}


class Tone(Enum):
    """How a card feels; the value is its colour, RGB."""

    GOOD = 0x2E9E5B
    WARNING = 0xE0A100
    DOWN = 0xC0392B


@dataclass(frozen=True, slots=True)
class Strong:
    """Text that stands out; escaped as any other."""

    text: str


@dataclass(frozen=True, slots=True)
class Moment:
    """A time, shown as "5 minutes ago"."""

    at: datetime


Span = str | Strong | Moment
Line = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Card:
    """A title and blocks of lines; a renderer may cut lines at the end of the longest block."""

    title: str
    tone: Tone
    blocks: tuple[tuple[Line, ...], ...]


def status_card(snapshot: Snapshot, recent: Sequence[Event]) -> Card:
    """Progress of all crawls, how fresh the numbers are, and what happened last."""
    stats, down_since = snapshot.stats, snapshot.down_since
    blocks: list[tuple[Line, ...]] = []
    if down_since is not None:
        known = "These are its last known numbers." if stats else "Nothing is known yet."
        silent = (
            Strong("⚠ The tracker does not answer."),
            " It fell silent ",
            Moment(down_since),
            ".",
        )
        blocks.append((silent, (known,)))
    tone = Tone.GOOD
    if stats is not None:
        crawls = sorted(stats.crawls, key=lambda crawl: (_finished(crawl), crawl.name))
        blocks += [_crawl_block(crawl) for crawl in crawls[:MAX_CRAWLS]]
        if len(crawls) > MAX_CRAWLS:
            blocks.append(((f"… and {count(len(crawls) - MAX_CRAWLS, 'more crawl')}.",),))
        if not crawls:
            blocks.append((("No crawl has been added yet.",),))
        if any(crawl.stale or crawl.jobs.dead for crawl in crawls):
            tone = Tone.WARNING
    if happened := recent_lines(recent):
        blocks.append(((Strong("Lately"),), *happened))
    if stats is not None:
        workers = f"{count(stats.workers_active, 'worker')} active · "
        accounts = f"{count(stats.accounts, 'account')} · numbers from "
        blocks.append(((workers + accounts, Moment(stats.time)),))
    return Card(TITLE, Tone.DOWN if down_since is not None else tone, tuple(blocks))


def _finished(crawl: CrawlStats) -> bool:
    return crawl.jobs.accepted + crawl.jobs.dead >= crawl.jobs.total


def _crawl_block(crawl: CrawlStats) -> tuple[Line, ...]:
    jobs = crawl.jobs
    paused = " · paused" if crawl.state is CrawlState.PAUSED else ""
    lines: list[Line] = [
        (Strong(short(crawl.name)), paused),
        (
            f"{bar(jobs.accepted, jobs.total)} ",
            Strong(percent(jobs.accepted, jobs.total)),
            f" · {number(jobs.accepted)} of {count(jobs.total, 'job')} accepted",
        ),
        (
            f"{number(jobs.pending)} pending · {number(jobs.leased)} leased · "
            f"{number(jobs.verifying)} verifying · {number(jobs.dead)} dead",
        ),
        (
            f"{count(crawl.kept, 'sample')} kept of {count(crawl.pairs, 'pair')} "
            f"({percent(crawl.kept, crawl.pairs)})",
        ),
        (
            f"{count(crawl.accepted_last_hour, 'job')} in the last hour, "
            f"{number(crawl.accepted_last_day)} in the last day · {_eta(crawl)}",
        ),
    ]
    if crawl.stale:
        lines.append((f"⚠ {count(crawl.stale, 'stale job')}: no heartbeat from the worker",))
    if jobs.dead:
        lines.append((f"⚠ {count(jobs.dead, 'dead job')}: an admin must look",))
    return tuple(lines)


def _eta(crawl: CrawlStats) -> str:
    if _finished(crawl):
        return "finished"
    if crawl.eta_seconds is None:
        return "no estimate yet"
    return f"about {duration(timedelta(seconds=min(crawl.eta_seconds, 1e9)))} left"


def recent_lines(recent: Iterable[Event]) -> tuple[Line, ...]:
    """What happened, newest first; shards of one account and crawl are one line."""
    groups: dict[tuple[str, str, str], list[Event]] = {}
    for event in reversed(list(recent)):
        match event:
            case ShardAccepted():
                groups.setdefault(("shard", event.crawl, event.account), []).append(event)
            case JobDied() | CrawlAddedEvent() | CrawlFinished() | CrawlStateChanged():
                groups[event.type, event.crawl, event.time.isoformat()] = [event]
            case _:
                continue  # an attempt that was lost is the queue's daily bread
    lines = [line for events in groups.values() if (line := _group_line(events))]
    return tuple(lines[:MAX_RECENT])


def _group_line(events: Sequence[Event]) -> Line | None:
    newest = events[0]
    when = (" · ", Moment(newest.time))
    crawl = short(newest.crawl)
    match newest:
        case ShardAccepted():
            shards = [event for event in events if isinstance(event, ShardAccepted)]
            kept = sum(shard.kept for shard in shards)
            what = f"{count(len(shards), 'shard')} of {crawl}, {count(kept, 'sample')}"
            return (Strong(short(newest.account)), f": {what}", *when)
        case JobDied():
            return (f"{short(newest.job)} is dead after {newest.attempt} attempts", *when)
        case CrawlAddedEvent():
            return (f"{crawl} was added, {count(newest.jobs, 'job')}", *when)
        case CrawlFinished():
            return (Strong(f"{crawl} is finished"), *when)
        case CrawlStateChanged():
            return (f"{crawl} {_NOW_IT[newest.state]}", *when)
    return None


def stale_card(total: int, jobs: Sequence[OpenJob]) -> Card:
    """Jobs whose workers are silent, longest first."""
    if not total:
        return Card("Stale jobs", Tone.GOOD, ((("No job is stale.",),),))
    return Card(count(total, "stale job"), Tone.WARNING, (job_lines(total, jobs),))


def job_lines(total: int, jobs: Sequence[OpenJob]) -> tuple[Line, ...]:
    """One line for each of the first jobs, and how many more there are."""
    lines: list[Line] = []
    for job in jobs[:MAX_JOBS]:
        stage = f", {short(job.progress.stage)}" if job.progress.stage else ""
        held = f" · {short(job.account)} on {short(job.worker)} · attempt {job.attempt}{stage}"
        lines.append(
            (Strong(short(job.job)), held, " · last heartbeat ", Moment(job.last_heartbeat))
        )
    if total > len(lines):
        lines.append((f"… and {number(total - len(lines))} more.",))
    return tuple(lines)


# ── words and figures ────────────────────────────────────────────────────────────────────────────


#: controls, line ends, and the characters that turn a line's direction or hide in it
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\s]+")


def short(name: str, most: int = MAX_NAME) -> str:
    """A name on one line, cut to `most` characters."""
    clean = _UNSEEN.sub(" ", name).strip()
    return clean if len(clean) <= most else clean[: most - 1] + "…"


def number(value: int) -> str:
    """`9,876` as it is; `12.3 M` from a hundred thousand on."""
    if value < 100_000:
        return f"{value:,}"
    for unit, size in (("k", 10**3), ("M", 10**6), ("G", 10**9)):
        if value < 1000 * size:
            return f"{value / size:.1f} {unit}"
    return f"{value / 10**12:,.1f} T"


def count(value: int, noun: str) -> str:
    """`1 job`, `2 jobs`."""
    return f"{number(value)} {noun}{'' if value == 1 else 's'}"


def percent(part: int, whole: int) -> str:
    """Rounded down, so that 100.0 % means all of it."""
    return f"{(part * 1000 // whole if whole else 0) / 10:.1f} %"


def bar(part: int, whole: int) -> str:
    """A progress bar of block characters."""
    full = min(BAR_CELLS, part * BAR_CELLS // whole) if whole else 0
    return "█" * full + "░" * (BAR_CELLS - full)


def duration(span: timedelta) -> str:
    """The two largest units: `3 d 4 h`, `2 h 5 min`, `40 s`."""
    seconds = int(span.total_seconds())
    for size, unit, small, small_unit in (
        (86_400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if seconds >= size:
            rest = seconds % size // small
            return f"{number(seconds // size)} {unit}" + (f" {rest} {small_unit}" if rest else "")
    return f"{seconds} s"
