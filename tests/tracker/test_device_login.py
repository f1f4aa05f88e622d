"""A machine gets a token when a person says so elsewhere."""

import asyncio
import re
from datetime import timedelta

import pytest

from laion_protocol import (
    AccessDenied,
    AuthorizationPending,
    CodeExpired,
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    RateLimited,
    Role,
    Scope,
    SlowDown,
    Unauthorized,
    Unavailable,
)
from laion_protocol.messages import (
    DeviceApproval,
    DeviceRequest,
    LeaseRequest,
    NewCrawl,
)
from tests.tracker.running import RECIPE
from tracker.identity import Accounts, device_login
from tracker.identity.device_login import ALPHABET, DeviceLogins, Ticket

ASK = LeaseRequest(worker="pc", version="1")


@pytest.fixture
async def accounts(redis):
    accounts = Accounts(redis)
    await accounts.add("ann", Role.VOLUNTEER)
    return accounts


@pytest.fixture
def logins(redis):
    return DeviceLogins(redis)


@pytest.fixture
def hasty(monkeypatch):
    """Nobody waits between two questions."""
    monkeypatch.setattr(device_login, "INTERVAL", timedelta(0))


async def begun(logins, worker="attic"):
    codes = await logins.start(worker, "laion-worker 1.0")
    return codes, await logins.find(codes.user, "somebody")


def approval(code, **fields):
    fields = {"discord_id": "42", "interaction_id": "7", **fields}
    return DeviceApproval(user_code=code, **fields)


async def test_once_a_person_says_yes_the_machine_gets_a_token_of_that_account(
    logins, accounts, hasty
):
    codes, login = await begun(logins)
    assert re.fullmatch(f"[{ALPHABET}]{{4}}-[{ALPHABET}]{{4}}", codes.user)
    assert (login.worker, login.client) == ("attic", "laion-worker 1.0")
    with pytest.raises(AuthorizationPending):
        await logins.claim(codes.device)
    await logins.decide(login.id, "ann", approve=True, by="ann")
    token, account = await logins.claim(codes.device)
    assert account == "ann"
    caller = await accounts.find(token)
    assert (caller.account, caller.scopes) == ("ann", {Scope.WORK})
    assert {row.label for row in await accounts.tokens("ann")} == {"first", "attic"}


async def test_a_code_is_found_however_it_was_typed(logins):
    codes, login = await begun(logins)
    plain = codes.user.replace("-", "")
    for typed in (plain.lower(), f"  {plain[:4]} {plain[4:]} ", f"{plain[:2]}-{plain[2:]}"):
        assert await logins.find(typed, "x") == login


async def test_a_token_is_given_once_and_again_only_while_nobody_has_used_it(
    logins, accounts, hasty, redis
):
    codes, login = await begun(logins)
    await logins.decide(login.id, "ann", approve=True, by="ann")
    lost, _ = await logins.claim(codes.device)
    token, _ = await logins.claim(codes.device)
    with pytest.raises(Unauthorized):
        await accounts.find(lost)
    assert (await accounts.find(token)).account == "ann"
    with pytest.raises(CodeExpired):
        await logins.claim(codes.device)
    assert len(await accounts.tokens("ann")) == 2
    [key] = await redis.keys("{accounts}:device:*")
    assert 0 < await redis.ttl(key) <= 60


async def test_a_machine_that_is_refused_hears_it_once_and_must_start_over(logins, accounts, hasty):
    codes, login = await begun(logins)
    await logins.decide(login.id, "", approve=False, by="ann")
    with pytest.raises(AccessDenied):
        await logins.claim(codes.device)
    with pytest.raises(CodeExpired):
        await logins.claim(codes.device)
    with pytest.raises(NotFound):
        await logins.find(codes.user, "somebody")


async def test_a_login_is_decided_once(logins, accounts):
    await accounts.add("bob", Role.VOLUNTEER)
    codes, login = await begun(logins)
    await logins.decide(login.id, "ann", approve=True, by="ann")
    await logins.decide(login.id, "ann", approve=True, by="ann")
    for account, approve in (("bob", True), ("ann", False)):
        with pytest.raises(NotFound, match="over"):
            await logins.decide(login.id, account, approve=approve, by=account)
    assert (await logins.claim(codes.device))[1] == "ann"


async def test_nobody_is_let_in_for_an_account_that_is_not_there_or_was_revoked(logins, accounts):
    _, login = await begun(logins)
    await accounts.revoke("ann")
    for account in ("ann", "nobody"):
        with pytest.raises(NotFound, match="revoked"):
            await logins.decide(login.id, account, approve=True, by="x")


async def test_who_asks_too_soon_is_told_to_slow_down_and_waits_longer_each_time(
    logins, accounts, monkeypatch, redis
):
    monkeypatch.setattr(device_login, "INTERVAL", timedelta(seconds=2))
    codes, login = await begun(logins)
    with pytest.raises(AuthorizationPending):
        await logins.claim(codes.device)
    for seconds in (7, 12):
        with pytest.raises(SlowDown) as refusal:
            await logins.claim(codes.device)
        assert refusal.value.retry_after == seconds
    await logins.decide(login.id, "ann", approve=True, by="ann")
    with pytest.raises(SlowDown):
        await logins.claim(codes.device)
    await redis.hdel(f"{{accounts}}:device:{login.id}", "asked")  # as after twelve seconds
    assert (await logins.claim(codes.device))[1] == "ann"


async def test_codes_are_over_after_a_quarter_of_an_hour_and_nowhere_in_plain(logins, redis):
    codes, login = await begun(logins)
    for key in (f"{{accounts}}:device:{login.id}", *await redis.keys("*user_code*")):
        assert 880 < await redis.ttl(key) <= 900
    everything = [*await redis.keys("*")]
    for key in everything:
        kind = await redis.type(key)
        read = {"hash": "hgetall", "string": "get"}.get(kind)
        everything.append(str(await getattr(redis, read)(key))) if read else None
    for secret in (codes.device, codes.user, codes.user.replace("-", "")):
        assert not any(secret in text for text in everything)
    await redis.delete(f"{{accounts}}:device:{login.id}")
    with pytest.raises(CodeExpired):
        await logins.claim(codes.device)
    with pytest.raises(NotFound):
        await logins.find(codes.user, "x")


async def test_codes_cannot_be_tried_out(logins, redis):
    codes, login = await begun(logins)
    for _ in range(10):
        with pytest.raises(NotFound):
            await logins.find("BBBB-BBBB", "eve")
    for typed in ("BBBB-BBBC", codes.user):
        with pytest.raises(RateLimited) as refusal:
            await logins.find(typed, "eve")
        assert 800 < refusal.value.retry_after <= 900
    assert await logins.find(codes.user, "ann") == login


async def test_the_number_of_open_logins_is_bounded(logins, monkeypatch):
    monkeypatch.setattr(device_login, "_MOST_OPEN", 3)
    for _ in range(3):
        await logins.start("w", "")
    with pytest.raises(Unavailable):
        await logins.start("w", "")


async def test_a_ticket_is_good_for_one_decision(logins, redis):
    _, login = await begun(logins)
    ticket = Ticket(login.id, "attic", "ann", Role.VOLUNTEER, "root")
    text = await logins.make_ticket(ticket)
    assert not any(text in key for key in await redis.keys("*"))
    assert await logins.take_ticket(text) == ticket
    for wrong in (text, "", "x"):
        with pytest.raises(Unauthorized):
            await logins.take_ticket(wrong)


# ── over HTTP ────────────────────────────────────────────────────────────────────────────────────


async def test_a_machine_logs_in_by_a_code_that_a_person_links_in_discord(tracker, monkeypatch):
    monkeypatch.setattr(device_login, "INTERVAL", timedelta(seconds=0.1))
    bot = await tracker.client(await tracker.account("robo", Role.BOT))
    machine = await tracker.client(None)
    login = await machine.start_device_login(DeviceRequest(worker="attic", client="laion 1"))
    assert login.verification_uri == f"{tracker.url}/device"
    assert login.verification_uri_complete.endswith(f"/device?user_code={login.user_code}")
    assert (login.expires_in, login.interval) == (900, 5)
    asking = asyncio.create_task(
        machine.finish_device_login(login.model_copy(update={"interval": 0.15}))
    )
    with pytest.raises(InvalidRequest, match="account"):
        await bot.approve_device(approval(login.user_code))
    approved = await bot.approve_device(approval(login.user_code, account="carol"))
    assert (approved.account, approved.worker) == ("carol", "attic")
    assert (approved.approved, approved.account_added) == (True, True)
    async with asyncio.timeout(10):
        token = await asking
    assert (token.account, token.token_type) == ("carol", "Bearer")
    worker = await tracker.client(token.access_token)
    assert (await worker.lease(ASK)).idle is not None
    row = next(row for row in await Accounts(tracker.redis).rows() if row.name == "carol")
    assert (row.role, row.discord_id) == (Role.VOLUNTEER, "42")

    again = await machine.start_device_login(DeviceRequest(worker="cellar"))
    refused = approval(again.user_code, interaction_id="8", approve=False)
    assert (await bot.approve_device(refused)).account == "carol"
    with pytest.raises(AccessDenied):
        await machine.poll_device_login(again.device_code)
    rows = [row for row in (await (await tracker.admin()).audit()).rows if "device" in row.action]
    assert [(row.actor, row.action, row.target, row.result) for row in rows] == [
        ("robo", "device_deny", "42 cellar", "ok"),
        ("robo", "device_approve", "42 attic", "ok"),
        ("robo", "device_approve", "42 attic", "invalid_request"),
    ]
    assert rows[1].after == {"account": "carol", "account_added": True}
    assert rows[1].reason == "interaction 7"


async def test_a_bot_lets_a_machine_in_once_however_often_it_asks(tracker):
    bot = await tracker.client(await tracker.account("robo", Role.BOT))
    machine = await tracker.client(None)
    login = await machine.start_device_login(DeviceRequest(worker="attic"))
    first, again = [
        await bot.approve_device(approval(login.user_code, account="carol")) for _ in range(2)
    ]
    assert first == again
    second = await machine.start_device_login(DeviceRequest(worker="cellar"))
    other = approval(second.user_code, account="dave", interaction_id="9")
    assert (await bot.approve_device(other)).account == "carol"  # this person has an account
    third = await machine.start_device_login(DeviceRequest(worker="shed"))
    taken = approval(third.user_code, account="carol", interaction_id="10", discord_id="43")
    with pytest.raises(Conflict):
        await bot.approve_device(taken)


async def test_a_stolen_bot_gets_no_admins_rights_by_letting_machines_in(tracker):
    await tracker.account("lead", Role.ADMIN, discord_id="1")
    bot = await tracker.client(await tracker.account("robo", Role.BOT))
    thief = await tracker.client(None)
    login = await thief.start_device_login(DeviceRequest(worker="x"))
    await bot.approve_device(approval(login.user_code, discord_id="1"))
    token = (await thief.poll_device_login(login.device_code)).access_token
    client = await tracker.client(token)
    assert (await client.me()).scopes == (Scope.WORK,)
    new = NewCrawl(name="X", base="https://e/", paths=("a",), recipe=RECIPE)
    mine = (await client.my_tokens()).rows
    for call in (
        client.accounts,
        client.audit,
        lambda: client.add_crawl(new),
        lambda: client.drop_my_token(next(row.id for row in mine if row.label == "first")),
    ):
        with pytest.raises(Forbidden):
            await call()


async def test_only_the_bot_approves_for_others(tracker):
    machine = await tracker.client(None)
    login = await machine.start_device_login(DeviceRequest(worker="x"))
    for client in (await tracker.worker("ann"), await tracker.admin()):
        with pytest.raises(Forbidden):
            await client.approve_device(approval(login.user_code, account="eve"))
    with pytest.raises(Unauthorized):
        await machine.approve_device(approval(login.user_code, account="eve"))


async def test_the_errors_of_a_login_are_those_of_rfc_8628(tracker):
    session = await tracker.raw()
    async with session.post("/v1/device", json={"worker": "x"}) as answer:
        code = (await answer.json())["device_code"]
    for body, status, word in (
        ({"device_code": code}, 400, "authorization_pending"),
        ({"device_code": code}, 400, "slow_down"),
        ({"device_code": "0" * 64}, 400, "expired_token"),
        ({"device_code": "x"}, 422, "invalid_request"),
    ):
        async with session.post("/v1/device/token", json=body) as answer:
            assert (answer.status, (await answer.json())["error"]) == (status, word)
