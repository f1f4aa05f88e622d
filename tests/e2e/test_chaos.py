"""Random `kill -9` of trackers, volunteers, verifiers and Redis, broken lines between them, power
cuts, processes that sleep.

    python -m tests.e2e.chaos    (`make chaos`: a million lives)

Two trackers on one Redis, of which each call takes either; volunteers whose clocks are ten minutes
off, either way. At the end every job is accepted, none twice, the books balance, the store holds
what was accepted and nothing else, and what anybody was told is still true. With `everysec`, what
was told in the last moments before the power went may not be.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.chaos.story import Plan, Story
from tracker.app import create_app
from tracker.settings import Settings


@pytest.mark.timeout(240)
@pytest.mark.parametrize("appendfsync", ["always", "everysec"])
async def test_nothing_is_lost_or_done_twice_whatever_breaks(
    tmp_path: Path, redis_server: str, appendfsync: str
) -> None:
    plan = Plan(jobs=150, faults=8, appendfsync=appendfsync, seed=1, patience=150)
    facts = await Story(tmp_path, redis_server, plan).run()
    assert facts.wrong == []
    assert facts.answers > plan.jobs
    assert facts.answers_lost == 0 or appendfsync == "everysec"
    assert facts.faults["redis"] == 3  # and of the others as the deck has them
    assert facts.faults["power"] > 0 or appendfsync == "always"


def test_no_call_of_a_worker_tells_the_time(tmp_path: Path) -> None:
    """So a volunteer's clock can be as wrong as it likes."""
    told = create_app(Settings(data=tmp_path, redis_url="redis://x")).openapi()
    calls = [
        call
        for path, methods in told["paths"].items()
        if path.startswith(("/v1/leases", "/v1/device", "/v1/dedupe"))
        for call in methods.values()
    ]
    asked = [(call.get("requestBody"), call.get("parameters")) for call in calls]
    formats = {format for part in asked for format in _formats(part, told)}
    assert len(calls) > 8
    assert "date-time" not in formats


def _formats(schema: Any, told: dict[str, Any]) -> Iterator[str]:
    if isinstance(schema, list | tuple):
        for part in schema:
            yield from _formats(part, told)
    elif isinstance(schema, dict):
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            yield from _formats(told["components"]["schemas"][name], told)
        if "format" in schema:
            yield schema["format"]
        yield from _formats(list(schema.values()), told)
