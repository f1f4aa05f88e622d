from datetime import timedelta

import pytest

from tracker.stats import eta_seconds

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)


@pytest.mark.parametrize(
    ("left", "accepted", "age", "expected"),
    [
        pytest.param(10, 0, DAY, None, id="nothing to reckon with"),
        pytest.param(120, 60, DAY, 7200, id="a full hour's rate"),
        pytest.param(30, 60, 10 * MINUTE, 300, id="a crawl ten minutes old made these in ten"),
        pytest.param(30, 60, timedelta(seconds=1), 30, id="the first seconds count as a minute"),
        pytest.param(0, 60, DAY, 0, id="nothing left"),
    ],
)
def test_what_is_left_takes_as_long_as_the_recent_rate_says(left, accepted, age, expected):
    assert eta_seconds(left, accepted, age) == expected
