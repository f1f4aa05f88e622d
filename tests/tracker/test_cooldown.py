"""Who has to wait, for how long; and what is not held against anybody."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as some

from laion_protocol import Outcome
from tracker.cooldown import PATIENCE, account_cooling_until, cooling_until
from tracker.queue import Failure
from tracker.troubles import Troubles, in_trouble

START = datetime(2026, 11, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def never(_at):
    return False


def failed(*times, outcome=Outcome.FAILED):
    """One lease after the other: each began half a minute before it failed (in minutes)."""
    ends = [START + time * MINUTE for time in times]
    return [Failure(end, end - MINUTE / 2, outcome) for end in ends]


def wait(failures, excused=never):
    until = cooling_until(failures, excused)
    return None if until is None else until - failures[-1].ended_at


@pytest.mark.parametrize(
    ("count", "minutes"), [(0, None), (1, None), (2, None), (3, 5), (4, 10), (5, 20), (9, 320)]
)
def test_from_the_third_failure_on_the_wait_doubles(count, minutes):
    expected = None if minutes is None else minutes * MINUTE
    assert wait(failed(*range(count))) == expected


def test_nobody_waits_for_longer_than_six_hours():
    assert wait(failed(*range(1000))) == timedelta(hours=6)


def test_leases_that_ran_out_together_are_one_failure():
    together = [Failure(START + MINUTE, START, Outcome.EXPIRED)] * 8
    assert wait(together) is None
    assert wait([*together, *failed(3), *failed(4)]) == 5 * MINUTE


def test_each_rejected_shard_counts():
    together = [Failure(START + MINUTE, START, Outcome.INVALID)] * 3
    assert wait(together) == 5 * MINUTE


def test_what_was_the_trackers_fault_does_not_count():
    failures = failed(1, 2, 3, 4)
    assert wait(failures, lambda at: at <= START + 2 * MINUTE) is None
    assert wait(failures, lambda at: at == START + MINUTE) == 5 * MINUTE


@given(some.lists(some.tuples(some.integers(0, 500), some.integers(0, 500)), max_size=25))
def test_one_more_failure_never_shortens_the_wait(spans):
    failures = sorted(
        Failure(START + max(span) * MINUTE, START + min(span) * MINUTE, Outcome.EXPIRED)
        for span in spans
    )
    ends = [cooling_until(failures[:count], never) or START for count in range(len(failures) + 1)]
    assert ends == sorted(ends)
    last = failures[-1].ended_at if failures else START
    assert ends[-1] <= last + PATIENCE.most


@given(some.integers(0, 10**6), some.integers(0, 20))
def test_trouble_excuses_what_ends_in_it_and_a_lease_later(seconds, lease_minutes):
    at, lease = START + timedelta(seconds=seconds), lease_minutes * MINUTE
    minute = int(START.timestamp()) // 60 + 8000
    began = datetime.fromtimestamp(minute * 60, UTC)
    excused = in_trouble(frozenset({minute}), at, lease)
    if began <= at <= began + MINUTE + lease:
        assert excused
    if at < began or at >= began + 2 * MINUTE + lease:
        assert not excused


def of_workers(*names, outcome=Outcome.FAILED):
    """One failure after the other, each of that worker, a minute apart."""
    return [
        Failure(START + n * MINUTE, START + n * MINUTE - MINUTE / 2, outcome, name)
        for n, name in enumerate(names)
    ]


def account_waits(failures, excused=never):
    until = account_cooling_until(failures, excused)
    return None if until is None else until - failures[-1].ended_at


def test_a_worker_that_changes_its_name_takes_its_account_with_it():
    renamed = of_workers(*(f"w{number // 2}" for number in range(12)))
    assert account_waits(renamed[:9]) is None
    assert account_waits(renamed[:10]) == 5 * MINUTE
    assert account_waits(renamed[:11]) == 10 * MINUTE
    assert account_waits(renamed[:10], lambda at: at == START) is None


def test_three_bad_machines_of_ten_stop_no_other():
    assert account_waits(of_workers(*["a", "b", "c"] * 30)) is None
    assert account_waits(of_workers(*["a"] * 50, "b", "c", "d")) is None
    assert account_waits(of_workers(*["a", "b", "c"] * 3, "d")) == 5 * MINUTE


def test_a_home_without_power_is_one_failure():
    names = [f"w{number}" for number in range(20)]
    dark = [Failure(START + n * MINUTE / 20, START - MINUTE, Outcome.EXPIRED, name)
            for n, name in enumerate(names)]  # fmt: skip
    assert account_waits(dark) is None
    assert account_waits([*dark, *of_workers(*names)[2:10]]) is None
    assert account_waits([*dark, *of_workers(*names)[2:11]]) == 5 * MINUTE
    assert account_waits(of_workers(*names[:10], outcome=Outcome.EXPIRED)) == 5 * MINUTE


async def test_many_faults_are_trouble_for_all_processes(redis):
    one, other = Troubles(redis), Troubles(redis)
    assert await other.minutes() == frozenset()
    for number in range(100):
        one.answered(fault=number < 10)
    assert await one.close_window()
    seconds, _ = await redis.time()
    now = datetime.fromtimestamp(int(seconds), UTC)
    assert in_trouble(await one.minutes(), now, timedelta(0))
    other._read_at -= 60  # what it knows is old
    assert await other.minutes() == await one.minutes()
    assert not await one.close_window()  # each window is judged alone


@pytest.mark.parametrize(("faults", "answers"), [(4, 4), (9, 200), (0, 0)])
async def test_few_faults_or_a_small_share_are_no_trouble(redis, faults, answers):
    troubles = Troubles(redis)
    for number in range(answers):
        troubles.answered(fault=number < faults)
    assert not await troubles.close_window()
    assert await troubles.minutes() == frozenset()


async def test_trouble_with_redis_itself_is_told_when_it_is_back(redis):
    class Away:
        async def eval(self, *_):
            raise ConnectionError

    troubles = Troubles(redis)
    troubles._redis, back = Away(), troubles._redis
    for _ in range(10):
        troubles.answered(fault=True)
    with pytest.raises(ConnectionError):
        await troubles.close_window()
    troubles._redis = back
    await troubles.close_window()
    assert await troubles.minutes()


async def test_trouble_is_forgotten_after_a_day(redis):
    troubles = Troubles(redis)
    seconds, _ = await redis.time()
    long_ago = int(seconds) // 60 - 24 * 60 - 1
    await redis.zadd("{project}:troubles", {str(long_ago): long_ago})
    for _ in range(10):
        troubles.answered(fault=True)
    await troubles.close_window()
    assert long_ago not in await troubles.minutes()
