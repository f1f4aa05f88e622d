"""A machine gets a token when a person says so elsewhere."""

import asyncio
import re
import time
from datetime import UTC, datetime, timedelta

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
    WorkerState,
)
from laion_protocol.messages import (
    DeviceApproval,
    DeviceRequest,
    LeaseRequest,
    NewCrawl,
    NewToken,
)
from tests.tracker.running import RECIPE
from tracker.identity import Accounts, Workers, device_login
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


async def test_one_address_does_not_take_all_places_of_those_who_log_in(
    logins, accounts, hasty, monkeypatch
):
    monkeypatch.setattr(device_login, "_MOST_OPEN_HERE", 3)
    begun_here = [await logins.start("w", "", "here") for _ in range(3)]
    with pytest.raises(RateLimited, match="your address") as refusal:
        await logins.start("w", "", "here")
    assert 880 < refusal.value.retry_after <= 900
    for address in ["there", *[""] * 5]:  # the tracker's own machine has no address
        await logins.start("w", "", address)
    for codes, approve in zip(begun_here, (True, False), strict=False):
        login = await logins.find(codes.user, "ann")
        await logins.decide(login.id, "ann", approve=approve, by="ann")
    await logins.claim(begun_here[0].device)
    with pytest.raises(AccessDenied):
        await logins.claim(begun_here[1].device)
    for _ in range(2):  # what is decided stands in nobody's way
        await logins.start("w", "", "here")
    with pytest.raises(RateLimited):
        await logins.start("w", "", "here")


async def test_a_machines_token_ends_with_the_one_by_which_it_was_let_in(
    logins, accounts, hasty, redis
):
    codes, login = await begun(logins)
    end = datetime.now(UTC) + timedelta(hours=1)
    await logins.decide(login.id, "ann", approve=True, by="ann", until=end)
    await logins.claim(codes.device)
    token, _ = await logins.claim(codes.device)  # the answer was lost
    row = next(row for row in await accounts.tokens("ann") if row.label == "attic")
    assert abs(row.expires - end) < timedelta(milliseconds=1)
    late, login = await begun(logins)
    await logins.decide(login.id, "ann", approve=True, by="ann", until=end)
    for key in (f"{{accounts}}:token:{row.id}", f"{{accounts}}:device:{login.id}"):
        await redis.hset(key, "expires", int(time.time() * 1000) - 1)
    with pytest.raises(Unauthorized, match="expired"):
        await accounts.find(token)
    with pytest.raises(CodeExpired):
        await logins.claim(late.device)


async def test_nobody_is_let_in_for_a_banned_account(logins, accounts, redis):
    _, login = await begun(logins)
    await Workers(redis).set_state("ann", None, WorkerState.BANNED, reason="noise", by="root")
    with pytest.raises(Forbidden, match="noise"):
        await logins.decide(login.id, "ann", approve=True, by="ann")
    await logins.decide(login.id, "ann", approve=False, by="ann")


async def test_a_ticket_is_good_for_one_decision(logins, redis):
    _, login = await begun(logins)
    ticket = Ticket(login.id, "attic", "ann", Role.VOLUNTEER, "root", "0" * 12)
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


async def test_a_machine_that_the_bot_lets_in_stays_no_longer_than_the_bot(tracker):
    first = await tracker.client(await tracker.account("robo", Role.BOT))
    bot = await tracker.client((await first.add_my_token(NewToken(label="x", expires_in=90))).token)
    machine = await tracker.client(None)
    login = await machine.start_device_login(DeviceRequest(worker="attic"))
    await bot.approve_device(approval(login.user_code, account="carol"))
    await machine.poll_device_login(login.device_code)
    [row] = await Accounts(tracker.redis).tokens("carol")
    assert row.expires is not None
    assert row.expires - row.created <= timedelta(seconds=90)


async def test_codes_and_tokens_are_kept_nowhere_whatever_key_they_were_asked_under(tracker):
    session = await tracker.raw()
    bot = await tracker.client(await tracker.account("robo", Role.BOT))
    headers = {"Authorization": f"Bearer {tracker.admin_token}", "Idempotency-Key": "k"}

    async def ask(path, body):
        async with session.post(path, json=body, headers=headers) as answer:
            return answer.status, await answer.json()

    _, login = await ask("/v1/device", {"worker": "x"})
    _, other = await ask("/v1/device", {"worker": "x"})
    assert login["device_code"] != other["device_code"]
    await bot.approve_device(approval(login["user_code"], account="carol"))
    status, token = await ask("/v1/device/token", {"device_code": login["device_code"]})
    assert (status, token["account"]) == (200, "carol")
    kept = [await tracker.redis.get(key) for key in await tracker.redis.keys("{audit}:answer:*")]
    for secret in (login["device_code"], login["user_code"], token["access_token"]):
        assert not any(secret in text for text in kept)


async def test_machines_that_wait_are_counted_by_the_address_that_sent_them(start, monkeypatch):
    monkeypatch.setattr(device_login, "_MOST_OPEN_HERE", 2)
    session = await (await start(trusted_proxies=("127.0.0.0/8",))).raw()
    statuses = []
    for address in ["2001:db8::1", "2001:db8::2", "2001:db8::3", "203.0.113.1"]:
        headers = {"X-Forwarded-For": address}
        async with session.post("/v1/device", json={"worker": "x"}, headers=headers) as answer:
            statuses.append(answer.status)
    assert statuses == [200, 200, 429, 200]


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
