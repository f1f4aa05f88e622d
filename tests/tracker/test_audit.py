"""What is written down about acts and refusals, and that an act under a key is done once."""

import asyncio
import json
from datetime import timedelta

import pytest

from laion_protocol import Conflict, Forbidden, NotFound, Role, TrackerError, Unavailable
from laion_protocol.messages import NewAccount, NewToken
from tracker import audit as audit_module
from tracker import idempotency
from tracker.audit import Audit
from tracker.idempotency import Act, Answer, Answers
from tracker.identity import Accounts, Caller

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


# ── once ─────────────────────────────────────────────────────────────────────────────────────────


async def test_of_one_act_sent_many_times_at_once_one_is_begun(redis):
    answers = Answers(redis)
    results = await asyncio.gather(
        *(answers.begin("ann", "k", b"x") for _ in range(10)), return_exceptions=True
    )
    [act] = [result for result in results if isinstance(result, Act)]
    assert all(isinstance(r, Unavailable) for r in results if r is not act)
    await answers.end(act, Answer(200, "text/plain", "done"))
    assert await answers.begin("ann", "k", b"x") == Answer(200, "text/plain", "done")
    assert isinstance(await answers.begin("bob", "k", b"x"), Act)
    with pytest.raises(Conflict, match="another request"):
        await answers.begin("ann", "k", b"y")


async def test_an_act_without_effect_may_be_tried_again(redis):
    answers = Answers(redis)
    act = await answers.begin("ann", "k", b"x")
    await answers.forget(act)
    assert isinstance(await answers.begin("ann", "k", b"x"), Act)


async def is_renewed(redis):
    """The mark of the only act is about to end, and does not."""
    [key] = await redis.keys("{audit}:answer:*")
    await redis.pexpire(key, 60_000)
    for _ in range(1000):
        if await redis.pttl(key) > 100_000:
            return
        await asyncio.sleep(0.01)
    pytest.fail("the mark is not renewed")


async def test_an_act_is_under_way_however_long_it_takes(redis, monkeypatch):
    monkeypatch.setattr(idempotency, "_RENEWED_EVERY", timedelta(seconds=0.02))
    answers = Answers(redis)
    act = await answers.begin("ann", "k", b"x")
    async with answers.under_way(act):
        await is_renewed(redis)
        await redis.delete(act.key)  # its process was away for too long
        other = await answers.begin("ann", "k", b"x")
        assert isinstance(other, Act)
        await redis.pexpire(act.key, 60_000)
        await asyncio.sleep(0.1)
        await answers.forget(act)
    assert 0 < await redis.pttl(act.key) < 60_000
    await answers.forget(other)
    assert await redis.keys("*") == []


async def test_an_act_that_takes_long_is_done_once(tracker, monkeypatch):
    monkeypatch.setattr(idempotency, "_RENEWED_EVERY", timedelta(seconds=0.02))
    revoke, began, may_end = Accounts.revoke, asyncio.Event(), asyncio.Event()

    async def slowly(accounts, name):
        began.set()
        await may_end.wait()
        await revoke(accounts, name)

    monkeypatch.setattr(Accounts, "revoke", slowly)
    await Accounts(tracker.redis).add("ann", Role.VOLUNTEER)
    token = await Accounts(tracker.redis).add("lead", Role.ADMIN)
    send = Sender(await tracker.raw(), token)
    path = "/v1/admin/accounts/ann/revoke"
    first = asyncio.create_task(send("POST", path, "k"))
    async with asyncio.timeout(10):
        await began.wait()
    await is_renewed(tracker.redis)
    assert (await send("POST", path, "k"))[0] == 503
    may_end.set()
    assert (await first)[0] == 204


async def test_answers_are_kept_for_a_day_and_long_ones_not_at_all(redis):
    answers = Answers(redis)
    act = await answers.begin("ann", "k", b"x")
    assert 0 < await redis.ttl(act.key) <= 120
    await answers.end(act, Answer(200, "", "x" * (2**20 + 1)))
    assert 86_000 < await redis.ttl(act.key) <= 86_400
    assert (await answers.begin("ann", "k", b"x")).body is None


class Sender:
    """Sends the same act with a key of its own choice."""

    def __init__(self, session, token):
        self._session, self._headers = session, {"Authorization": f"Bearer {token}"}

    async def __call__(self, method, path, key, body=None):
        headers = self._headers | {"Idempotency-Key": key}
        async with self._session.request(method, path, json=body, headers=headers) as answer:
            return answer.status, await answer.text(), answer.headers.get("Idempotent-Replay")


async def test_an_act_under_a_key_is_done_once_and_answered_alike(tracker):
    send = Sender(await tracker.raw(), tracker.admin_token)
    await tracker.add_crawl("A")
    await tracker.account("ann")
    first = await send("POST", "/v1/admin/accounts/ann/revoke", "key-1")
    again = await send("POST", "/v1/admin/accounts/ann/revoke", "key-1")
    assert first == (204, "", None)
    assert again == (204, "", "true")
    rows = (await (await tracker.admin()).audit(action="account_revoke")).rows
    assert [(row.key, row.before, row.after) for row in rows] == [
        ("key-1", {"revoked": False}, {"revoked": True})
    ]
    status, text, _ = await send("POST", "/v1/admin/crawls/A/pause", "key-1")
    assert (status, json.loads(text)["error"]) == (409, "conflict")

    refused = await send("POST", "/v1/admin/accounts/nobody/revoke", "key-2")
    assert refused[0] == 404
    await tracker.account("nobody")
    assert (await send("POST", "/v1/admin/accounts/nobody/revoke", "key-2"))[:2] == refused[:2]
    status, text, _ = await send("POST", "/v1/admin/accounts/ann/revoke", "x" * 200)
    assert (status, json.loads(text)["error"]) == (422, "invalid_request")


async def test_an_answer_with_a_token_is_kept_nowhere_and_the_act_not_done_twice(tracker):
    send = Sender(await tracker.raw(), tracker.admin_token)
    new = NewAccount(name="ann").model_dump(mode="json")
    status, text, _ = await send("POST", "/v1/admin/accounts", "k", new)
    token = json.loads(text)["token"]
    assert status == 200
    status, text, _ = await send("POST", "/v1/admin/accounts", "k", new)
    assert (status, json.loads(text)["error"]) == (409, "conflict")
    assert "shown once" in text
    secret = token.rpartition("_")[2]
    for key in await tracker.redis.keys("{audit}:answer:*"):
        assert secret not in await tracker.redis.get(key)
    path = "/v1/admin/accounts/ann/tokens"
    body = NewToken(label="second").model_dump(mode="json")
    statuses = [(await send("POST", path, "k2", body))[0] for _ in range(3)]
    assert statuses == [200, 409, 409]
    assert len((await (await tracker.admin()).account_tokens("ann")).rows) == 2


async def test_a_key_is_its_callers_own_and_gives_no_rights(tracker):
    admin = Sender(await tracker.raw(), tracker.admin_token)
    ann = Sender(await tracker.raw(), await tracker.account("ann"))
    await tracker.account("bob")
    assert (await admin("POST", "/v1/admin/accounts/bob/revoke", "k"))[0] == 204
    assert (await ann("POST", "/v1/admin/accounts/bob/revoke", "k"))[0] == 403
    me = await (await tracker.client(tracker.admin_token)).me()
    narrow = await (await tracker.admin()).add_account_token(
        me.account, NewToken(label="narrow", scopes=("audit",))
    )
    narrow_send = Sender(await tracker.raw(), narrow.token)
    status, text, replayed = await narrow_send("POST", "/v1/admin/accounts/bob/revoke", "k")
    assert (status, replayed) == (409, None)
    assert issubclass(Conflict, TrackerError)
    assert json.loads(text)["error"] == "conflict"
