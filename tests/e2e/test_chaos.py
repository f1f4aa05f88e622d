"""Random `kill -9` of trackers, volunteers, verifiers and Redis, and cut lines between them.

    python -m tests.e2e.chaos --jobs 1000000 --killing 7200    (the long run)

Two trackers on one Redis; volunteers whose clocks are ten minutes off, either way. At the end every
job is accepted, none twice, the books balance, and what anybody was told is still true.
"""

from pathlib import Path

import pytest

from tests.e2e.chaos.story import Story


@pytest.mark.timeout(180)
async def test_with_aof_always_nothing_that_was_answered_is_lost(
    tmp_path: Path, redis_server: str
) -> None:
    facts = await Story(tmp_path, redis_server, "always", seed=1).run(1000, 14, 90)
    assert facts.accepted == facts.jobs
    assert facts.accepted_twice == []
    assert facts.promises_broken == []
    assert facts.promises > 500
    assert facts.counts == {
        "pairs": 3 * facts.jobs, "kept": 3 * facts.jobs, "bytes": 7 * facts.jobs,
        "credited": facts.jobs,
    }  # fmt: skip
    assert sum(facts.kills.values()) + facts.cuts > 8
    assert facts.tracebacks == []
