"""What people may do with their own account, and what their role lets them do."""

from datetime import timedelta

import pytest

from laion_protocol import (
    Conflict,
    Forbidden,
    IdleReason,
    NotFound,
    RateLimited,
    Role,
    Scope,
    Unauthorized,
    WorkerState,
)
from laion_protocol.client import TrackerClient
from laion_protocol.messages import (
    DelegationRequest,
    Heartbeat,
    LeaseRequest,
    NewAccount,
    NewToken,
    Requeue,
)
from tracker.identity import UNLIMITED, Rate, Rates, Workers

ASK = LeaseRequest(worker="pc", version="1.2.3")


async def test_a_volunteer_sees_the_own_account_with_its_machines_and_tokens(tracker):
    worker = await tracker.worker("ann")
    await worker.lease(ASK)
    me = await worker.me()
    assert (me.account, me.role, me.scopes, me.via) == ("ann", Role.VOLUNTEER, (Scope.WORK,), "")
    [machine] = me.workers
    assert (machine.name, machine.version, machine.state) == ("pc", "1.2.3", WorkerState.ACTIVE)
    [token] = (await worker.my_tokens()).rows
    assert token.label == "first"
    assert token.used is not None


async def test_a_volunteer_adds_and_revokes_tokens_of_the_own_account(tracker):
    worker = await tracker.worker("ann")
    added = await worker.add_my_token(NewToken(label="laptop", expires_in=3600))
    laptop = await tracker.client(added.token)
    assert (await laptop.me()).account == "ann"
    row = next(row for row in (await worker.my_tokens()).rows if row.id == added.id)
    assert (row.label, row.expires is not None) == ("laptop", True)
    await worker.drop_my_token(added.id)
    with pytest.raises(Unauthorized):
        await laptop.me()
    with pytest.raises(NotFound):
        await worker.drop_my_token(added.id)
    other = await tracker.worker("bob")
    with pytest.raises(NotFound):
        await other.drop_my_token((await worker.my_tokens()).rows[0].id)
    await worker.drop_my_token((await worker.my_tokens()).rows[0].id)  # the one that asks
    with pytest.raises(Unauthorized):
        await worker.me()


@pytest.mark.parametrize("role", [Role.ADMIN, Role.VOLUNTEER])
async def test_a_token_with_few_rights_makes_no_others_and_locks_nobody_out(tracker, role):
    owner = await tracker.client(await tracker.account("ann", role))
    with pytest.raises(Forbidden, match="more than itself: delegate"):
        await owner.add_my_token(NewToken(label="x", scopes=(Scope.WORK, Scope.DELEGATE)))
    limited = NewToken(label="attic", scopes=(Scope.WORK,))
    other = await owner.add_my_token(limited)
    found = await tracker.client((await owner.add_my_token(limited)).token)
    assert (await found.me()).scopes == (Scope.WORK,)
    for new in (NewToken(label="x"), limited):
        with pytest.raises(Forbidden, match="makes no others"):
            await found.add_my_token(new)
    first = next(row for row in (await found.my_tokens()).rows if row.label == "first")
    with pytest.raises(Forbidden, match="more than yours"):
        await found.drop_my_token(first.id)
    await found.drop_my_token(other.id)
    with pytest.raises(Forbidden, match="scope"):
        await found.accounts()
    assert (await owner.me()).account == "ann"


async def test_a_token_makes_none_that_outlives_it(tracker):
    worker = await tracker.worker("ann")
    added = await worker.add_my_token(NewToken(label="1", expires_in=90))
    brief = await tracker.client(added.token)
    await brief.add_my_token(NewToken(label="2"))
    await brief.add_my_token(NewToken(label="3", expires_in=3600))
    await brief.add_my_token(NewToken(label="4", expires_in=60))
    ends = {row.label: row.expires for row in (await worker.my_tokens()).rows}
    assert max(ends["2"], ends["3"]) <= ends["1"] + timedelta(seconds=1)
    assert ends["4"] < ends["1"]
    await worker.add_my_token(NewToken(label="5"))
    assert {row.label: row.expires for row in (await worker.my_tokens()).rows}["5"] is None


async def test_a_machine_is_taken_off_the_list_by_its_owner_unless_an_admin_holds_it(tracker):
    worker = await tracker.worker("ann")
    await worker.lease(ASK)
    registry = Workers(tracker.redis)
    await registry.set_state("ann", "pc", WorkerState.BANNED, reason="noise", by="lead")
    with pytest.raises(Conflict):
        await worker.forget_my_worker("pc")
    await registry.set_state("ann", "pc", WorkerState.ACTIVE, reason="", by="lead")
    await worker.forget_my_worker("pc")
    assert (await worker.me()).workers == ()
    with pytest.raises(NotFound):
        await worker.forget_my_worker("pc")


async def test_anyone_sees_machines_but_not_why_one_is_banned(tracker):
    await (await tracker.worker("ann")).lease(ASK)
    await Workers(tracker.redis).set_state(
        "ann", "pc", WorkerState.BANNED, reason="between us", by="lead"
    )
    anyone = await tracker.client(None)
    [view] = (await anyone.workers("ann")).workers
    assert (view.name, view.state, view.version) == ("pc", WorkerState.BANNED, "1.2.3")
    session = await tracker.raw()
    async with session.get("/v1/workers/ann/pc") as answer:
        text = await answer.text()
    assert "between us" not in text
    assert "lead" not in text
    for path in ("/v1/workers/nobody", "/v1/workers/ann/nothing"):
        async with session.get(path) as answer:
            assert answer.status == 404


async def test_a_client_that_says_which_worker_it_is_is_seen_at_every_call(tracker):
    token = await tracker.account("ann")
    async with TrackerClient(tracker.url, token, patience=0, worker="attic") as client:
        me = await client.me()
    assert [row.name for row in me.workers] == ["attic"]
    session = await tracker.raw()
    for wrong in ("a b", "../x", "x" * 65, "-x", "é"):
        headers = {"Authorization": f"Bearer {token}", "Laion-Worker": wrong}
        async with session.get("/v1/me", headers=headers) as answer:
            assert [row["name"] for row in (await answer.json())["workers"]] == ["attic"]


async def test_a_banned_volunteer_is_told_why_at_every_call_and_gets_no_work(tracker):
    await tracker.add_crawl("A")
    worker = await tracker.worker("ann")
    held = (await worker.lease(ASK)).lease
    await Workers(tracker.redis).set_state(
        "ann", None, WorkerState.BANNED, reason="sends noise", by="lead"
    )
    idle = (await worker.lease(ASK)).idle
    assert idle.reason is IdleReason.BANNED
    assert "sends noise" in idle.message
    for call in (
        lambda: worker.heartbeat(held.lease_id, Heartbeat()),
        lambda: worker.held_leases("pc"),
        lambda: worker.receipt(held.lease_id),
    ):
        with pytest.raises(Forbidden, match="sends noise"):
            await call()
    me = await worker.me()
    assert (me.state, me.reason) == (WorkerState.BANNED, "sends noise")


async def test_a_banned_admin_has_no_rights_left(tracker):
    token = await tracker.account("lead", Role.ADMIN)
    await Workers(tracker.redis).set_state(
        "lead", None, WorkerState.BANNED, reason="went mad", by="root"
    )
    with pytest.raises(Forbidden, match="went mad"):
        await (await tracker.client(token)).accounts()


async def test_a_moderator_looks_after_jobs_and_makes_no_accounts(tracker):
    await tracker.add_crawl("A")
    moderator = await tracker.client(await tracker.account("mod", Role.MODERATOR))
    await moderator.stale_jobs()
    await moderator.requeue(Requeue(jobs=("A/0",), reason="x"))
    await moderator.pause_crawl("A")
    await moderator.audit()
    assert (await moderator.lease(ASK)).idle is not None
    for call in (
        lambda: moderator.add_account(NewAccount(name="eve", role=Role.ADMIN)),
        moderator.accounts,
        lambda: moderator.renew_token("root0"),
        lambda: moderator.revoke_account("root0"),
        lambda: moderator.account_tokens("root0"),
        lambda: moderator.add_account_token("root0", NewToken(label="x")),
        lambda: moderator.delegate(DelegationRequest(discord_id="1", interaction_id="1")),
    ):
        with pytest.raises(Forbidden):
            await call()


async def test_a_bot_asks_for_no_more_rights_than_it_needs(tracker):
    await tracker.account("lead", Role.ADMIN, discord_id="1")
    bot = await tracker.client(await tracker.account("robo", Role.BOT))
    asked = DelegationRequest(discord_id="1", interaction_id="7", scopes=(Scope.JOBS,))
    token = (await bot.delegate(asked)).token
    client = await tracker.client(token)
    await client.stale_jobs()
    with pytest.raises(Forbidden, match="audit"):
        await client.audit()
    me = await client.me()
    assert (me.account, me.via, me.scopes) == ("lead", "robo", (Scope.JOBS,))
    with pytest.raises(Forbidden):
        await client.add_my_token(NewToken(label="for ever"))
    with pytest.raises(Forbidden):
        await client.drop_my_token("0" * 12)
    with pytest.raises(Forbidden):
        await client.lease(ASK)


async def test_admins_list_add_and_revoke_tokens_of_others_with_a_row_for_each(tracker):
    await tracker.account("ann")
    admin = await tracker.admin()
    added = await admin.add_account_token("ann", NewToken(label="attic", scopes=(Scope.WORK,)))
    assert {row.label for row in (await admin.account_tokens("ann")).rows} == {"first", "attic"}
    await admin.drop_account_token("ann", added.id)
    with pytest.raises(Unauthorized):
        await (await tracker.client(added.token)).me()
    rows = (await admin.audit(target="ann")).rows
    assert [(row.action, row.result) for row in rows] == [
        ("token_drop", "ok"), ("token_add", "ok"), ("account_add", "ok"),
    ]  # fmt: skip
    assert rows[0].before == {"label": "attic"}
    assert rows[1].after["id"] == added.id
    assert rows[2].after["role"] == "volunteer"


async def test_too_many_calls_get_429_with_a_time_and_the_client_waits_for_it(start):
    tracker = await start(rates=UNLIMITED.times(0))
    token = await tracker.account("ann")
    limited = await start(rates=Rates(call=Rate(2, 2)))
    client = await limited.client(token)
    await client.me()
    await client.me()
    with pytest.raises(RateLimited, match="too many calls"):
        await client.me()
    session = await limited.raw()
    async with session.get("/v1/me", headers={"Authorization": f"Bearer {token}"}) as answer:
        assert answer.status == 429
        assert int(answer.headers["Retry-After"]) >= 1
    patient = await limited.client(token, patience=5)
    assert (await patient.me()).account == "ann"


async def test_callers_without_a_token_are_limited_by_address_behind_a_proxy(start):
    tracker = await start(rates=Rates(anonymous=Rate(0.1, 3)), trusted_proxies=("127.0.0.0/8",))
    session = await tracker.raw()

    async def statuses(address, path="/v1/stats", **headers):
        headers = {"X-Forwarded-For": address, **headers}
        found = []
        for _ in range(5):
            async with session.get(path, headers=headers) as answer:
                found.append(answer.status)
        return found

    assert await statuses("203.0.113.1") == [200, 200, 200, 429, 429]
    assert await statuses("198.51.100.1, 203.0.113.1") == [429] * 5
    assert await statuses("203.0.113.2", "/v1/crawls") == [200, 200, 200, 429, 429]
    wrong = {"Authorization": f"Bearer lw_{'0' * 12}_{'0' * 64}"}
    assert await statuses("203.0.113.3", "/v1/me", **wrong) == [401, 401, 401, 429, 429]
    for path in ("/healthz", "/readyz"):
        assert await statuses("203.0.113.1", path) == [200] * 5
    keys = await tracker.redis.keys("*")
    assert not any("203" in key for key in keys if "rate" in key)
