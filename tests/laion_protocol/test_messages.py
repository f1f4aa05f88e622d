import pytest
from pydantic import TypeAdapter, ValidationError

from laion_protocol.events import EVENT, ShardAccepted
from laion_protocol.messages import Idle, JobId, LeaseId


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "crawl~1",
        "crawl~1~xyz",
        "../x~1~" + "0" * 32,
        "c~1~" + "0" * 32 + "\n",
        "c~-1~" + "0" * 32,
    ],
)
def test_a_lease_id_from_outside_is_checked_whole(bad):
    with pytest.raises(ValidationError):
        TypeAdapter(LeaseId).validate_python(bad)


@pytest.mark.parametrize("bad", ["crawl", "crawl/", "crawl/1/2", "{x}/1", "a b/1"])
def test_a_job_id_from_outside_is_checked_whole(bad):
    with pytest.raises(ValidationError):
        TypeAdapter(JobId).validate_python(bad)


def test_a_reader_ignores_fields_that_a_newer_peer_adds():
    answer = {"reason": "no_work", "message": "done", "retry_after": 5, "mood": "fine"}

    assert Idle.model_validate(answer).retry_after == 5


def test_an_event_is_told_apart_by_its_type():
    event = ShardAccepted(
        crawl="demo", time="2026-11-23T00:00:00Z", job="demo/1", account="alice", worker="w",
        kept=1, pairs=2, accepted=1, total=9,
    )  # fmt: skip

    assert EVENT.validate_json(event.model_dump_json()) == event


@pytest.mark.parametrize("seconds", ["1e999", "NaN", "-1"])
def test_a_number_that_json_cannot_carry_on_is_refused(seconds):
    raw = '{"reason": "no_work", "message": "x", "retry_after": ' + seconds + "}"

    with pytest.raises(ValidationError):
        Idle.model_validate_json(raw)
