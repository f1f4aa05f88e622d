"""Admins drain, ban and pardon workers and whole accounts."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from laion_protocol import (
    FailureClass,
    Forbidden,
    IdleReason,
    InvalidRequest,
    LeaseLost,
    NotFound,
    Role,
    WorkerState,
)
from laion_protocol.messages import (
    DelegationRequest,
    Failure,
    Heartbeat,
    LeaseRequest,
    Treat,
)

SPAM = Treat(reason="spam")


def ask(worker="pc"):
    return LeaseRequest(worker=worker, version="0.1.0")


async def last_audit(admin):
    row = (await admin.audit(1)).rows[0]
    return row.action, row.target, row.reason, row.result, row.before, row.after


async def test_a_banned_worker_loses_its_jobs_and_gets_no_others_and_is_pardoned(tracker):
    await tracker.add_crawl("A", files=4)
    admin, ann = await tracker.admin(), await tracker.worker("ann")
    mine = (await ann.lease(ask())).lease
    other = (await ann.lease(ask("mac"))).lease
    dry = await admin.ban("ann", "pc", SPAM.model_copy(update={"dry_run": True}))
    assert (dry.before, dry.state, dry.cancelled) == ("active", "banned", 0)
    await ann.heartbeat(mine.lease_id, Heartbeat())
    done = await admin.ban("ann", "pc", SPAM)
    assert (done.before, done.cancelled) == (WorkerState.ACTIVE, 1)
    assert await last_audit(admin) == (
        "worker_ban", "ann/pc", "spam", "ok", "active",
        {"state": "banned", "until": None, "cancelled": 1},
    )  # fmt: skip
    with pytest.raises((LeaseLost, Forbidden), match="spam"):
        await ann.heartbeat(mine.lease_id, Heartbeat())
    await ann.heartbeat(other.lease_id, Heartbeat())
    [banned] = (await admin.fleet(account="ann", state=WorkerState.BANNED)).rows
    assert (banned.name, banned.reason, banned.by) == ("pc", "spam", "root0")
    back = await admin.pardon("ann", "pc", Treat(reason="it was not them"))
    assert (back.before, back.state) == ("banned", "active")
    assert (await ann.lease(ask())).lease is not None


async def test_a_banned_account_is_told_so_with_the_reason(tracker):
    await tracker.add_crawl("A", files=4)
    admin, ann = await tracker.admin(), await tracker.worker("ann")
    for worker in ("pc", "mac"):
        assert (await ann.lease(ask(worker))).lease
    assert (await admin.ban("ann", None, SPAM)).cancelled == 2
    assert (await last_audit(admin))[:2] == ("account_ban", "ann")
    idle = (await ann.lease(ask("third"))).idle
    assert idle.reason is IdleReason.BANNED
    assert "spam" in idle.message
    row = next(row for row in (await admin.accounts()).rows if row.name == "ann")
    assert (row.state, row.reason) == (WorkerState.BANNED, "spam")
    await admin.pardon("ann", None, SPAM)
    assert (await ann.lease(ask("third"))).lease


async def test_a_drained_worker_finishes_and_gets_no_more_until_the_time_is_over(tracker):
    await tracker.add_crawl("A", files=4)
    admin, ann = await tracker.admin(), await tracker.worker("ann")
    mine = (await ann.lease(ask())).lease
    soon = datetime.now(UTC) + timedelta(seconds=0.7)
    done = await admin.drain("ann", "pc", Treat(reason="slow disk", until=soon))
    assert (done.state, done.cancelled) == (WorkerState.DRAINING, 0)
    assert (await ann.heartbeat(mine.lease_id, Heartbeat())).deadline
    assert (await ann.lease(ask())).idle.reason is IdleReason.DRAINING
    await asyncio.sleep(0.8)
    assert (await ann.lease(ask())).lease


async def test_a_pardon_ends_the_wait_after_failures(tracker):
    await tracker.add_crawl("A", files=4)
    admin, ann = await tracker.admin(), await tracker.worker("ann")
    for _ in range(3):
        lease = (await ann.lease(ask())).lease
        await ann.fail(lease.lease_id, Failure(failure_class=FailureClass.WORKER, message="full"))
    assert (await ann.lease(ask())).idle.reason is IdleReason.COOLDOWN
    await admin.pardon("ann", "pc", Treat(reason="has a new disk"))
    assert (await ann.lease(ask())).lease


async def test_the_fleet_is_listed(tracker):
    admin = await tracker.admin()
    for name in ("ann", "bob"):
        await (await tracker.worker(name)).lease(ask())
    rows = (await admin.fleet(seen_within=timedelta(minutes=1))).rows
    assert [(row.account, row.name, row.version) for row in rows] == [
        ("ann", "pc", "0.1.0"), ("bob", "pc", "0.1.0"),
    ]  # fmt: skip
    assert len((await admin.fleet(limit=1)).rows) == 1
    with pytest.raises(NotFound):
        await admin.fleet(account="nobody")


async def test_only_an_admin_of_their_own_may_ban_the_projects_people(tracker):
    await tracker.add_crawl("A")
    await tracker.account("lead", Role.ADMIN, discord_id="1")
    await tracker.account("ann")
    moderator = await tracker.client(await tracker.account("mia", Role.MODERATOR, discord_id="2"))
    bot = await tracker.client(await tracker.account("robo", Role.BOT))
    lent = (await bot.delegate(DelegationRequest(discord_id="1", interaction_id="7"))).token
    assert (await moderator.ban("ann", None, SPAM)).state is WorkerState.BANNED
    assert (await bot.pardon("ann", None, SPAM, token=lent)).state is WorkerState.ACTIVE
    for caller, token in ((moderator, None), (bot, lent)):
        for somebody in ("robo", "root0"):
            with pytest.raises(Forbidden, match="token of their own"):
                await caller.ban(somebody, None, SPAM, token=token)
    with pytest.raises(InvalidRequest, match="your own"):
        await moderator.ban("mia", None, SPAM)
    assert (await (await tracker.admin()).ban("mia", None, SPAM)).state is WorkerState.BANNED
    with pytest.raises(Forbidden, match="spam"):
        await moderator.fleet()
    with pytest.raises(Forbidden):
        await (await tracker.worker("eve")).ban("ann", None, SPAM)


async def test_who_is_not_there_and_times_that_make_no_sense_are_refused(tracker):
    admin = await tracker.admin()
    await tracker.account("ann")
    for account, worker in (("nobody", None), ("ann", "nothing"), ("nobody", "pc")):
        with pytest.raises(NotFound):
            await admin.ban(account, worker, SPAM)
    past = datetime.now(UTC) - timedelta(seconds=1)
    with pytest.raises(InvalidRequest, match="is over"):
        await admin.drain("ann", None, Treat(reason="x", until=past))
    with pytest.raises(InvalidRequest, match="no end"):
        await admin.pardon("ann", None, Treat(reason="x", until=past))
