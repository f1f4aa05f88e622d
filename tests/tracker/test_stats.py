from dataclasses import replace
from datetime import timedelta

import pytest

from laion_protocol import CrawlState
from tracker.queue import JobQueue
from tracker.stats import Statistics, eta_seconds

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


async def test_nobody_waits_for_what_a_finished_crawl_has_left(tracker, redis):
    await tracker.add_crawl()
    queue = JobQueue(redis)
    counted = replace(await queue.stats("CC-1", silent_for=DAY), accepted_last_hour=60)
    assert (await _shown(counted, queue)).eta_seconds is not None
    finished = replace(counted, state=CrawlState.FINISHED)
    assert (await _shown(finished, queue)).eta_seconds is None


async def _shown(counted, queue):
    """As `Statistics` tells it of a queue that counted this."""

    async def stats(_name, **_how):
        return counted

    queue.stats = stats
    [crawl] = await Statistics(queue._redis, queue, silent_for=DAY).crawls()
    return crawl
