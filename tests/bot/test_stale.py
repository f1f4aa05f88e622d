"""What a button carries: everything, in Discord's 100 characters, and nothing that is trusted."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.stale import EXPIRY, Filter, Reassignment, Unusable

#: Hypothesis wants bounds without a zone
FIRST, LAST = (datetime(year, 1, 1) for year in (2024, 2100))  # noqa: DTZ001
TIMES = st.datetimes(FIRST, LAST, timezones=st.just(UTC))
CRAWLS = st.text("Cx09._-", max_size=40).map("C".__add__)
FILTERS = st.one_of(
    st.builds(
        Filter,
        crawl=st.none() | CRAWLS,
        silent_for=st.none() | st.integers(1, 10_080).map(lambda n: timedelta(minutes=n)),
    ),
    st.builds(lambda crawl, number: Filter(job=f"{crawl}/{number}"), CRAWLS, st.integers(0, 10**9)),
)


@given(
    st.builds(
        Reassignment,
        invoker=st.integers(0, 2**64 - 1),
        issued_at=TIMES.map(lambda time: time.replace(microsecond=0)),
        silent_since=TIMES,
        shown=st.integers(0, 1000),
        filter=FILTERS,
    )
)
def test_what_goes_into_a_custom_id_comes_out_again(reassignment: Reassignment) -> None:
    custom_id = reassignment.custom_id("y")
    assert len(custom_id) <= 100
    assert Reassignment.parse(custom_id, "y") == reassignment
    assert Reassignment.parse(custom_id, "n") is None


@given(st.text() | st.from_regex(r"rq:[ynr]:[A-Za-z0-9_-]{32}:[A-Za-z0-9._/-]*", fullmatch=True))
def test_whatever_comes_in_is_read_or_refused(custom_id: str) -> None:
    found = Reassignment.parse(custom_id, "y")
    assert found is None or Reassignment.parse(found.custom_id("y"), "y") == found


def test_a_crawl_with_an_endless_name_is_refused_in_words() -> None:
    now = datetime.now(UTC)
    with pytest.raises(Unusable, match="too long for a button"):
        Reassignment(1, now, now, 1, Filter(job="x" * 64 + "/123456789")).custom_id("y")


def test_a_reassignment_expires() -> None:
    now = datetime.now(UTC)
    assert not Reassignment(1, now, now, 1, Filter()).expired()
    assert Reassignment(1, now - EXPIRY - timedelta(seconds=1), now, 1, Filter()).expired()


@pytest.mark.parametrize(
    "which", ["", "stale", "CC-X", "CC-X/", "CC-X/1/2", "../1", "a b/1", "é/1"]
)
def test_only_a_job_or_all_of_them_can_be_meant(which: str) -> None:
    with pytest.raises(Unusable):
        Filter.parse(which, None, None)
    with pytest.raises(Unusable):
        Filter.parse("all stale", "no such/name", None)


def test_all_stale_is_read_in_any_case() -> None:
    assert Filter.parse(" All Stale ", "CC-X", 5) == Filter(None, "CC-X", timedelta(minutes=5))
    assert Filter.parse(" CC-X/7 ", None, None) == Filter("CC-X/7")
