"""What is written down about acts and refusals."""

import json

import pytest

from laion_protocol import Conflict, Forbidden, NotFound, Role
from tracker import audit as audit_module
from tracker.audit import Audit
from tracker.identity import Caller

ANN = Caller(account="ann", role=Role.ADMIN)
ROBO = Caller(account="ann", role=Role.ADMIN, act="robo", idempotency_key="k1")


@pytest.fixture
def audit(redis):
    return Audit(redis)


async def test_an_act_is_written_with_what_it_changed_and_who_did_it_through_whom(audit):
    async with audit.row(ROBO, "pause", "A", reason="noise", before={"paused": False}) as note:
        note.after = {"paused": True}
    [row] = await audit.rows(5)
    assert (row.actor, row.via, row.action, row.target) == ("ann", "robo", "pause", "A")
    assert (row.before, row.after) == ({"paused": False}, {"paused": True})
    assert (row.reason, row.result, row.key) == ("noise", "ok", "k1")


async def test_a_refused_act_is_written_with_the_word_of_the_refusal_and_changed_nothing(audit):
    for error in (Conflict, NotFound, Forbidden):
        with pytest.raises(error):
            async with audit.row(ANN, "add", "A") as note:
                note.before, note.after = {"n": 1}, {"n": 2}
                raise error("no")
    rows = await audit.rows(5)
    assert [row.result for row in rows] == ["forbidden", "not_found", "conflict"]
    assert [(row.before, row.after) for row in rows] == [({"n": 1}, None)] * 3


async def test_no_token_gets_into_the_log_and_no_row_is_endless(audit, redis):
    token = f"lw_{'a' * 12}_{'b' * 64}"
    await audit.write(
        ANN, "add", token, reason=f"for {token}", result="ok",
        before={"token": token}, after=["x" * 1000] * 100,
    )  # fmt: skip
    [row] = await audit.rows(1)
    assert "b" * 16 not in row.model_dump_json()
    assert row.before == {"token": f"lw_{'a' * 12}_…"}
    assert row.after["characters"] > 100_000
    assert len(json.dumps(row.after)) < 4000


async def test_the_log_is_read_by_actor_action_target_and_page_by_page(audit, monkeypatch):
    monkeypatch.setattr(audit_module, "_PAGE", 3)
    for number in range(10):
        caller = ANN if number % 2 else ROBO
        result = "forbidden" if number % 3 == 0 else "ok"
        await audit.write(caller, f"do{number % 2}", f"job {number}", result=result)
    everything = await audit.rows(100)
    assert [row.target for row in everything] == [f"job {n}" for n in reversed(range(10))]
    assert [row.target for row in await audit.rows(2, actor="robo")] == ["job 8", "job 6"]
    assert len(await audit.rows(100, actor="ann")) == 10
    assert [row.target for row in await audit.rows(2, action="do1")] == ["job 9", "job 7"]
    assert [row.target for row in await audit.rows(9, target="b 3")] == ["job 3"]
    first = await audit.rows(4)
    second = await audit.rows(4, before=first[-1].id)
    assert [row.target for row in second] == ["job 5", "job 4", "job 3", "job 2"]


async def test_whoever_is_refused_all_the_time_cannot_push_the_acts_out(audit, monkeypatch):
    limits = {audit_module._ACTS: 200_000, audit_module._REFUSED: 50}
    monkeypatch.setattr(audit_module, "_MAX_ROWS", limits)
    await audit.write(ANN, "pause", "A", result="ok")
    for _ in range(300):
        await audit.write(ANN, "GET /v1/admin/audit", "", result="forbidden")
    rows = await audit.rows(1000)
    assert len(rows) < 200
    assert rows[-1].action == "pause"


async def test_rows_of_before_there_was_a_before_are_still_read(audit, redis):
    old = {"time": "2026-01-01T00:00:00Z", "actor": "ann", "via": "", "action": "pause",
           "target": "A", "reason": "", "result": "ok"}  # fmt: skip
    await redis.xadd("{audit}:rows", old)
    [row] = await audit.rows(1)
    assert (row.action, row.before, row.key) == ("pause", None, "")


@pytest.mark.parametrize("first", ["0-0", "00-000"])
async def test_nothing_is_older_than_the_first_row_that_could_be(audit, first):
    await audit.write(ANN, "pause", "A", result="ok")
    assert await audit.rows(10, before=first) == ()
