"""Random `kill -9` of trackers, volunteers, verifiers and Redis, and cut lines between them.

    python -m tests.e2e.chaos --jobs 1000000 --killing 7200    (the long run)

Two trackers on one Redis; volunteers whose clocks are ten minutes off, either way. At the end every
job is accepted, none twice, the books balance, and what anybody was told is still true.
"""

from pathlib import Path

import pytest

from tests.e2e.chaos.story import Story


@pytest.mark.timeout(180)
@pytest.mark.parametrize("appendfsync", ["always", "everysec"])
async def test_nothing_is_lost_or_done_twice_whoever_is_killed(
    tmp_path: Path, redis_server: str, appendfsync: str
) -> None:
    facts = await Story(tmp_path, redis_server, appendfsync, seed=1).run(150, 7, 90)
    assert facts.accepted == facts.jobs
    assert facts.accepted_twice == []
    # `everysec` may lose the last second in a power cut; a killed process loses nothing by either
    assert facts.promises_broken == []
    assert facts.promises > 150
    assert facts.counts == {
        "pairs": 3 * facts.jobs, "kept": 3 * facts.jobs, "bytes": 7 * facts.jobs,
        "credited": facts.jobs,
    }  # fmt: skip
    assert facts.differences == []
    assert sum(facts.kills.values()) + facts.cuts > 3
    assert facts.tracebacks == []
