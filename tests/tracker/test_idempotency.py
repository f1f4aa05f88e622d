"""An act under a key is done once."""

import asyncio
import json
from contextlib import suppress
from datetime import timedelta

import pytest

from laion_protocol import Conflict, Role, TrackerError, Unavailable
from laion_protocol.messages import NewAccount, NewToken
from tracker import idempotency
from tracker.idempotency import Act, Answer, Answers
from tracker.identity import Accounts
from tracker.routes import once


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


async def is_renewed(redis, key=None):
    """The mark of this act, or of the only one, is about to end, and does not."""
    if key is None:
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


async def test_a_refusal_is_kept_for_minutes(redis):
    answers = Answers(redis)
    act = await answers.begin("ann", "k", b"x")
    await answers.end(act, Answer(404, "", "no"))
    assert 0 < await redis.ttl(act.key) <= 600


async def test_of_one_account_the_last_acts_are_known(redis):
    answers = Answers(redis)
    bobs = await answers.begin("bob", "0", b"x", most=3)
    for number in range(5):
        act = await answers.begin("ann", str(number), b"x", most=3)
        await answers.end(act, Answer(200, "", str(number)))
    assert len(await redis.keys("{audit}:answer:*")) == 3 + 1
    for number in (2, 3, 4):
        assert (await answers.begin("ann", str(number), b"x", most=3)).body == str(number)
    assert isinstance(await answers.begin("ann", "0", b"x", most=3), Act)
    assert await redis.exists(bobs.key)


async def test_of_acts_under_way_the_one_that_goes_on_is_known_longest(redis, monkeypatch):
    monkeypatch.setattr(idempotency, "_RENEWED_EVERY", timedelta(seconds=0.02))
    answers = Answers(redis)
    act = await answers.begin("ann", "long", b"x", most=3)
    for number in range(2):
        await answers.begin("ann", str(number), b"x", most=3)
    async with answers.under_way(act):
        await is_renewed(redis, act.key)
        for number in range(2, 4):
            await answers.begin("ann", str(number), b"x", most=3)
        assert len(await redis.keys("{audit}:answer:*")) == 3
        with pytest.raises(Unavailable):
            await answers.begin("ann", "long", b"x", most=3)
    for number in range(4, 7):
        await answers.begin("ann", str(number), b"x", most=3)
    assert not await redis.exists(act.key)
    await answers.end(act, Answer(200, "", "done"))  # as long as it took, its answer is the newest
    assert (await answers.begin("ann", "long", b"x", most=3)).body == "done"
    assert len(await redis.keys("{audit}:answer:*")) == 3


async def test_an_act_ends_though_a_cancellation_was_swallowed(redis, monkeypatch):
    monkeypatch.setattr(idempotency, "_RENEWED_EVERY", timedelta(0))
    renewing = asyncio.Event()

    async def swallow_once(*_):
        """As redis-py's send may, up to Python 3.11."""
        if renewing.is_set():
            await asyncio.sleep(60)
        renewing.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)

    answers = Answers(redis)
    act = await answers.begin("ann", "k", b"x")
    monkeypatch.setattr(idempotency, "_MARK", swallow_once)
    async with asyncio.timeout(0.5), answers.under_way(act):
        await renewing.wait()


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


async def test_keys_of_ones_own_choice_fill_no_more_than_a_share_of_ones_own(tracker, monkeypatch):
    monkeypatch.setattr(once, "_KNOWN_OF_VOLUNTEERS", 2)
    monkeypatch.setattr(once, "_KNOWN", 3)
    session = await tracker.raw()
    for token, most in ((await tracker.account("ann"), 2), (tracker.admin_token, 3)):
        send = Sender(session, token)
        for number in range(most + 2):
            assert (await send("DELETE", "/v1/me/workers/none", str(number)))[0] == 404
        keys = await tracker.redis.keys("{audit}:answer:*")
        assert len(keys) == most
        assert all([0 < await tracker.redis.ttl(key) <= 600 for key in keys])
        await tracker.redis.delete(*keys)
