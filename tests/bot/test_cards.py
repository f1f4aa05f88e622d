"""Cards: golden ones, and any at all within Discord's limits."""

import json
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot import cards
from bot.cards import Card, Moment, Strong, Tone, stale_card, status_card
from bot.console import card_text, render_text
from bot.layout import content, layout, plain
from bot.project import Snapshot
from laion_protocol import Outcome
from laion_protocol.events import (
    AttemptLost,
    CrawlAddedEvent,
    CrawlFinished,
    CrawlStateChanged,
    Event,
    JobDied,
    ShardAccepted,
)
from laion_protocol.messages import CrawlStats, JobCounts, OpenJob, Progress, Stats
from laion_protocol.states import CrawlState
from tests.fake_discord.messages import check_limits, walk

GOLDEN = Path(__file__).parent / "golden"
NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
HOSTILE = "@everyone <@1> **x** [a](https://e.test) `\n# big\n> q\n||s|| <t:0:R>\u202eevil"


def crawl(name: str = "CC-MAIN-2026-43", **changed: object) -> CrawlStats:
    fields: dict[str, object] = {
        "name": name,
        "state": CrawlState.ACTIVE,
        "jobs": JobCounts(
            total=90_000, pending=51_890, leased=213, verifying=12, accepted=37_880, dead=5
        ),
        "attempts": 40_123,
        "pairs": 412_345_678,
        "kept": 12_345_678,
        "drops": {},
        "bytes": 2**40,
        "accepted_last_hour": 1_204,
        "accepted_last_day": 28_511,
        "stale": 7,
        "eta_seconds": 155_520.0,
    }
    return CrawlStats.model_validate(fields | changed)


def stats(*crawls: CrawlStats) -> Stats:
    return Stats(time=NOW, crawls=crawls, workers_active=198, accounts=61)


def accepted(minute: int, account: str, kept: int) -> ShardAccepted:
    return ShardAccepted(
        crawl="CC-MAIN-2026-43",
        time=NOW - timedelta(minutes=minute),
        job=f"CC-MAIN-2026-43/{minute}",
        account=account,
        worker="pc",
        kept=kept,
        pairs=20_000,
        accepted=37_880 - minute,
        total=90_000,
    )


RECENT: tuple[Event, ...] = (
    CrawlAddedEvent(crawl="CC-MAIN-2026-43", time=NOW - timedelta(days=9), jobs=90_000),
    accepted(9, "vera", 5_120),
    accepted(8, "otto", 4_811),
    AttemptLost(
        crawl="CC-MAIN-2026-43",
        time=NOW - timedelta(minutes=7),
        job="CC-MAIN-2026-43/7",
        account="otto",
        worker="pc",
        attempt=1,
        outcome=Outcome.EXPIRED,
    ),
    accepted(6, "vera", 5_300),
    JobDied(
        crawl="CC-MAIN-2026-43",
        time=NOW - timedelta(minutes=5),
        job="CC-MAIN-2026-43/44",
        attempt=5,
    ),
    accepted(1, "vera", 4_999),
)
STALE = tuple(
    OpenJob(
        job=f"CC-MAIN-2026-43/{number}",
        source="https://x.test/a.warc.gz",
        part=0,
        account=HOSTILE[:40] if number == 2 else "otto",
        worker="attic-pc",
        attempt=1,
        leased_at=NOW - timedelta(hours=2),
        last_heartbeat=NOW - timedelta(minutes=60 - number),
        deadline=NOW,
        progress=Progress(stage="download"),
    )
    for number in range(14)
)
FINISHED = JobCounts(total=40, pending=0, leased=0, verifying=0, accepted=39, dead=1)
CARDS: dict[str, Card] = {
    "running": status_card(Snapshot(stats(crawl())), RECENT),
    "tracker_down": status_card(Snapshot(stats(crawl()), NOW - timedelta(minutes=3)), RECENT),
    "nothing_known": status_card(Snapshot(None, NOW), ()),
    "no_crawl": status_card(Snapshot(stats()), ()),
    "finished_and_paused": status_card(
        Snapshot(
            stats(
                crawl("CC-DONE", jobs=FINISHED, stale=0, eta_seconds=None),
                crawl("CC-PAUSED", state=CrawlState.PAUSED, stale=0, eta_seconds=None),
            )
        ),
        (
            CrawlStateChanged(crawl="CC-PAUSED", time=NOW, state=CrawlState.PAUSED),
            CrawlFinished(crawl="CC-DONE", time=NOW, accepted=39, dead=1),
        ),
    ),
    "many_crawls": status_card(Snapshot(stats(*(crawl(f"CC-{n}") for n in range(9)))), ()),
    "hostile": status_card(Snapshot(stats(crawl(HOSTILE))), (accepted(1, HOSTILE, 1),)),
    "stale": stale_card(99, STALE),
    "nothing_stale": stale_card(0, ()),
}


@pytest.mark.parametrize("name", CARDS)
def test_a_card_looks_as_it_did(name: str) -> None:
    """A change of looks is made on purpose: LAION_WRITE_GOLDEN=1 writes the files anew."""
    card = CARDS[name]
    looks = {
        "layout": layout(card).to_components(),
        "content": content(card).splitlines(),
        "terminal": card_text(card, NOW).splitlines(),
    }
    file = GOLDEN / f"{name}.json"
    if os.environ.get("LAION_WRITE_GOLDEN"):
        file.write_text(json.dumps(looks, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert looks == json.loads(file.read_text(encoding="utf-8"))


COUNTS = st.integers(0, 2**53)
NAMES = st.text(max_size=300) | st.just(HOSTILE) | st.text("*_`|~<>@#[]()\\", max_size=300)
JOBS = st.builds(
    JobCounts,
    total=COUNTS,
    pending=COUNTS,
    leased=COUNTS,
    verifying=COUNTS,
    accepted=COUNTS,
    dead=COUNTS,
)
CRAWLS = st.builds(
    CrawlStats,
    name=NAMES,
    jobs=JOBS,
    state=st.sampled_from(CrawlState),
    drops=st.just({}),
    eta_seconds=st.none() | st.floats(0, allow_infinity=False, allow_nan=False),
    attempts=COUNTS,
    pairs=COUNTS,
    kept=COUNTS,
    bytes=COUNTS,
    accepted_last_hour=COUNTS,
    accepted_last_day=COUNTS,
    stale=COUNTS,
)
#: Hypothesis wants bounds without a zone
FIRST, LAST = (datetime(year, 1, 1) for year in (2000, 2100))  # noqa: DTZ001
TIMES = st.datetimes(FIRST, LAST, timezones=st.just(UTC))
EVENTS = st.one_of(
    st.builds(
        ShardAccepted, crawl=NAMES, job=NAMES, account=NAMES, worker=NAMES, time=TIMES,
        kept=COUNTS, pairs=COUNTS, accepted=COUNTS, total=COUNTS,
    ),
    st.builds(JobDied, crawl=NAMES, job=NAMES, attempt=COUNTS, message=NAMES, time=TIMES),
    st.builds(CrawlFinished, crawl=NAMES, accepted=COUNTS, dead=COUNTS, time=TIMES),
    st.builds(CrawlStateChanged, crawl=NAMES, state=st.sampled_from(CrawlState), time=TIMES),
)  # fmt: skip
SPANS = NAMES | st.builds(Strong, NAMES) | st.builds(Moment, TIMES)
ANY_CARD = st.one_of(
    st.builds(
        status_card,
        st.builds(
            Snapshot,
            st.none()
            | st.builds(
                Stats,
                time=TIMES,
                crawls=st.lists(CRAWLS, max_size=7).map(tuple),
                workers_active=COUNTS,
                accounts=COUNTS,
            ),
            st.none() | TIMES,
        ),
        st.lists(EVENTS, max_size=20),
    ),
    st.builds(
        Card,
        NAMES.map(lambda name: cards.short(name)),
        st.sampled_from(Tone),
        st.lists(
            st.lists(st.lists(SPANS, max_size=5).map(tuple), min_size=1, max_size=30).map(tuple),
            max_size=8,
        ).map(tuple),
    ),
)


@given(ANY_CARD)
def test_any_card_is_within_discords_limits(card: Card) -> None:
    components = layout(card).to_components()
    check_limits({"components": components, "flags": 1 << 15})
    assert all(part.get("content", "x") for part in walk(components))
    text = content(card)
    assert 0 < len(text) <= 2000
    assert card_text(card, NOW)


@given(NAMES)
def test_no_name_brings_form_of_its_own(name: str) -> None:
    shown = plain(name)
    assert "\n" not in shown
    assert "\r" not in shown
    assert not re.search(r"@(everyone|here|[!&]?\d)", shown)
    assert "://" not in shown
    # every character that Discord gives a meaning has a backslash before it
    bare = re.sub(r"\\.", "", shown)
    assert not re.search(r"[*_`~|<>\[\]#]", bare), shown


def test_names_stay_readable_and_on_one_line() -> None:
    assert cards.short("  a\u202e\n\tb\x00c  ") == "a b c"
    assert cards.short("x" * 41) == "x" * 39 + "…"
    assert plain("CC-MAIN-2026-43") == "CC-MAIN-2026-43"
    assert plain("vera_2") == "vera\\_2"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (99_999, "99,999"),
        (100_000, "100.0 k"),
        (12_345_678, "12.3 M"),
        (2**53, "9,007.2 T"),
    ],
)
def test_numbers_are_short(value: int, shown: str) -> None:
    assert cards.number(value) == shown


def test_a_hundred_percent_means_all() -> None:
    assert cards.percent(99_999, 100_000) == "99.9 %"
    assert cards.percent(7, 7) == "100.0 %"
    assert cards.percent(0, 0) == "0.0 %"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"),
        (61, "1 min 1 s"),
        (7200, "2 h"),
        (17_400, "4 h 50 min"),
        (1e9, "11,574 d 1 h"),
    ],
)
def test_durations_have_two_units(seconds: float, shown: str) -> None:
    assert cards.duration(timedelta(seconds=seconds)) == shown


def test_a_terminal_shows_the_same_data_without_discord() -> None:
    text = render_text(stats(crawl()), RECENT, now=NOW + timedelta(seconds=30))
    assert "████████░░░░░░░░░░░░ 42.0 % · 37,880 of 90,000 jobs accepted" in text
    assert "vera: 3 shards of CC-MAIN-2026-43, 15,419 samples · 1 min 30 s ago" in text
    assert "numbers from 30 s ago" in text
    assert "*" not in text


def test_equal_numbers_of_one_minute_make_equal_cards() -> None:
    first = stats(crawl()).model_copy(update={"time": NOW})
    later = first.model_copy(update={"time": NOW + timedelta(seconds=59)})
    assert status_card(Snapshot(first).to_the_minute(), ()) == status_card(
        Snapshot(later).to_the_minute(), ()
    )
    assert status_card(Snapshot(first), ()) != status_card(Snapshot(later), ())
