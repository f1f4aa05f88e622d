"""What only admins may do, and what is written down about it."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from laion_protocol import (
    Conflict,
    Forbidden,
    IdleReason,
    InvalidRequest,
    LeaseLost,
    NotFound,
    Role,
    Unauthorized,
    UploadMismatch,
)
from laion_protocol.messages import (
    DelegationRequest,
    Heartbeat,
    LeaseRequest,
    NewAccount,
    NewCrawl,
    Requeue,
)
from tests.tracker.running import RECIPE

ASK = LeaseRequest(worker="pc", version="0.1.0")


async def audit_of(tracker):
    rows = (await (await tracker.admin()).audit()).rows
    return [(row.actor, row.via, row.action, row.target, row.result) for row in rows]


async def test_a_volunteer_is_refused_and_the_refusal_is_written_down(tracker):
    worker = await tracker.worker("ann")
    new = NewCrawl(name="X", base="https://e/", paths=("a",), recipe=RECIPE)
    for call in (
        lambda: worker.add_crawl(new),
        lambda: worker.pause_crawl("X"),
        lambda: worker.add_account(NewAccount(name="eve", role=Role.ADMIN)),
        lambda: worker.put_file("0" * 64, __file__ and tracker.settings.data / "lock"),
        lambda: worker.stale_jobs(),
        lambda: worker.requeue(Requeue(jobs=("X/0",), reason="mine")),
        lambda: worker.accounts(),
        lambda: worker.audit(),
    ):
        (tracker.settings.data / "lock").touch()
        with pytest.raises(Forbidden, match="ann"):
            await call()
    rows = await audit_of(tracker)
    assert ("ann", "", "POST /v1/admin/jobs/requeue", "", "forbidden") in rows
    assert len([row for row in rows if row[0] == "ann"]) == 8


async def test_adding_a_crawl_is_safe_to_repeat_and_another_of_that_name_is_refused(tracker):
    first = await tracker.add_crawl("A")
    assert await tracker.add_crawl("A") == first
    with pytest.raises(Conflict):
        await tracker.add_crawl("A", files=4)
    rows = [row for row in await audit_of(tracker) if row[2] == "crawl_add"]
    assert [row[4] for row in rows] == ["conflict", "ok", "ok"]


async def test_a_crawl_that_is_not_there_cannot_be_paused(tracker):
    with pytest.raises(NotFound):
        await (await tracker.admin()).pause_crawl("nope")


async def test_an_account_is_added_listed_renewed_and_revoked(tracker):
    admin = await tracker.admin()
    added = await admin.add_account(NewAccount(name="ann", discord_id="42"))
    assert added.token.startswith("lw_")
    with pytest.raises(Conflict):
        await admin.add_account(NewAccount(name="ann"))
    with pytest.raises(Conflict):
        await admin.add_account(NewAccount(name="bob", discord_id="42"))
    row = next(row for row in (await admin.accounts()).rows if row.name == "ann")
    assert (row.role, row.discord_id, row.revoked) == (Role.VOLUNTEER, "42", False)

    renewed = await admin.renew_token("ann")
    with pytest.raises(Unauthorized):
        await (await tracker.client(added.token)).lease(ASK)
    worker = await tracker.client(renewed.token)
    assert (await worker.lease(ASK)).idle.reason is IdleReason.NO_WORK

    await admin.revoke_account("ann")
    with pytest.raises(Unauthorized, match="revoked"):
        await worker.lease(ASK)


async def test_no_token_is_kept_or_shown_after_it_was_given(tracker, caplog):
    token = await tracker.account("ann")
    secret = token.rpartition("_")[2]
    keys = await tracker.redis.keys("*")
    for key in keys:
        kind = await tracker.redis.type(key)
        read = {"hash": "hgetall", "set": "smembers", "string": "get"}.get(kind)
        if read:
            assert secret not in str(await getattr(tracker.redis, read)(key))
    assert secret not in (await (await tracker.admin()).accounts()).model_dump_json()
    assert secret not in caplog.text


async def test_a_bot_acts_for_an_admin_with_that_admins_name_in_the_log(tracker):
    await tracker.account("lead", Role.ADMIN, discord_id="1")
    await tracker.account("ann", Role.VOLUNTEER, discord_id="2")
    bot = await tracker.client(await tracker.account("robo", Role.BOT))
    await tracker.add_crawl("A")

    delegation = await bot.delegate(DelegationRequest(discord_id="1", interaction_id="77"))
    assert (delegation.account, delegation.expires_in) == ("lead", 60)
    await bot.pause_crawl("A", token=delegation.token)
    assert ("lead", "robo", "crawl_pause", "A", "ok") in await audit_of(tracker)

    for person, reason in (("2", "not an admin"), ("3", "not linked")):
        with pytest.raises(Forbidden, match=reason):
            await bot.delegate(DelegationRequest(discord_id=person, interaction_id="78"))
    with pytest.raises(Forbidden):
        await bot.pause_crawl("A")  # the bot's own token is no admin's
    with pytest.raises(Forbidden):
        await bot.lease(ASK)
    with pytest.raises(Forbidden):
        await (await tracker.worker("bob")).delegate(
            DelegationRequest(discord_id="1", interaction_id="79")
        )
    await (await tracker.admin()).revoke_account("robo")
    with pytest.raises(Unauthorized):
        await (await tracker.client(delegation.token)).pause_crawl("A")


async def test_a_bot_that_acts_for_an_admin_may_steer_jobs_and_nothing_that_lasts(tracker):
    await tracker.account("lead", Role.ADMIN, discord_id="1")
    await tracker.account("ann")
    bot = await tracker.client(await tracker.account("robo", Role.BOT))
    await tracker.add_crawl("A")
    token = (await bot.delegate(DelegationRequest(discord_id="1", interaction_id="7"))).token
    client = await tracker.client(token)

    await client.pause_crawl("A")
    await client.resume_crawl("A")
    await client.stale_jobs()
    await client.requeue(Requeue(jobs=("A/0",), reason="silent"))
    await client.audit()

    file = tracker.settings.data / "file"
    file.touch()
    new = NewCrawl(name="X", base="https://e/", paths=("a",), recipe=RECIPE)
    calls = {
        "POST /v1/admin/accounts": lambda: client.add_account(
            NewAccount(name="eve", role=Role.ADMIN)
        ),
        "GET /v1/admin/accounts": client.accounts,
        "POST /v1/admin/accounts/ann/revoke": lambda: client.revoke_account("ann"),
        "POST /v1/admin/accounts/ann/token": lambda: client.renew_token("ann"),
        "POST /v1/admin/crawls": lambda: client.add_crawl(new),
        f"PUT /v1/admin/files/{'0' * 64}": lambda: client.put_file("0" * 64, file),
    }
    for call in calls.values():
        with pytest.raises(Forbidden, match=r"'robo' may not .* your own token"):
            await call()
    rows = await audit_of(tracker)
    for action in calls:
        assert ("lead", "robo", action, "", "forbidden") in rows


async def test_a_delegation_ends_after_a_minute(tracker):
    await tracker.account("lead", Role.ADMIN, discord_id="1")
    bot = await tracker.client(await tracker.account("robo", Role.BOT))
    token = (await bot.delegate(DelegationRequest(discord_id="1", interaction_id="7"))).token
    [key] = [key for key in await tracker.redis.keys("*:token:" + token.split("_")[1])]
    assert 0 < await tracker.redis.ttl(key) <= 60


async def test_stale_jobs_are_listed_and_taken_away(tracker):
    await tracker.add_crawl("A")
    worker, admin = await tracker.worker("ann"), await tracker.admin()
    held = (await worker.lease(ASK)).lease
    assert (await admin.stale_jobs()).total == 0
    stale = await admin.stale_jobs(crawl="A", silent_for=timedelta(0))
    [job] = stale.jobs
    assert (job.job, job.account, job.worker, job.source) == (
        held.job, "ann", "pc", held.source,
    )  # fmt: skip

    dry = await admin.requeue(Requeue(jobs=(held.job, "A/99"), reason="silent", dry_run=True))
    assert dry.jobs == {held.job: "requeued", "A/99": "unknown"}
    await worker.heartbeat(held.lease_id, Heartbeat())
    since = datetime.now(UTC) - timedelta(seconds=20)
    alive = Requeue(jobs=(held.job,), reason="silent", silent_since=since)
    assert (await admin.requeue(alive)).jobs == {held.job: "alive"}
    taken = await admin.requeue(Requeue(jobs=(held.job,), reason="silent"))
    assert taken.jobs == {held.job: "requeued"}
    with pytest.raises(LeaseLost):
        await worker.heartbeat(held.lease_id, Heartbeat())
    row = (await admin.audit(1)).rows[0]
    assert (row.action, row.reason, row.result) == ("jobs_requeue", "silent", "ok")


async def test_a_model_file_is_kept_by_its_hash_and_read_in_ranges(tracker, tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(bytes(range(256)) * 1000)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    admin, worker = await tracker.admin(), await tracker.worker()
    with pytest.raises(UploadMismatch):
        await admin.put_file("0" * 64, path)
    with pytest.raises(NotFound):
        await worker._http.call("GET", f"/v1/files/{sha256}")
    await admin.put_file(sha256, path)
    with (tmp_path / "copy").open("w+b") as copy:
        await worker.fetch_file(sha256, copy)
    assert (tmp_path / "copy").read_bytes() == path.read_bytes()

    session = await tracker.raw()
    headers = {"Authorization": f"Bearer {worker._http._token}", "Range": "bytes=10-19"}
    async with session.get(f"/v1/files/{sha256}", headers=headers) as answer:
        assert (answer.status, await answer.read()) == (206, bytes(range(10, 20)))
    for wrong in ("bytes=99999999-", "bytes=9-2", "rows=1-2"):
        async with session.get(f"/v1/files/{sha256}", headers=headers | {"Range": wrong}) as answer:
            assert (answer.status, (await answer.json())["error"]) == (422, "invalid_request")
    async with session.get(f"/v1/files/{sha256}") as answer:
        assert answer.status == 401


async def test_a_crawl_of_many_files_is_taken_and_a_broken_one_is_named(tracker):
    paths = tuple(f"crawl-data/segments/{n:07}/warc/CC-MAIN-{n:07}.warc.gz" for n in range(40_000))
    admin = await tracker.admin()
    new = NewCrawl(name="big", base="https://e/", paths=paths, recipe=RECIPE)
    assert len(new.model_dump_json()) > 2 * 2**20
    assert (await admin.add_crawl(new)).jobs == 40_000
    session = await tracker.raw()
    headers = {"Authorization": f"Bearer {tracker.admin_token}"}
    for body in (b"{", b'{"name": "x"}'):
        async with session.post("/v1/admin/crawls", data=body, headers=headers) as answer:
            assert answer.status == InvalidRequest.status
            assert (await answer.json())["error"] == "invalid_request"
