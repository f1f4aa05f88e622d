"""Who may call, by which token."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from importlib.resources import files

import pytest

from laion_protocol import (
    Conflict,
    Forbidden,
    NotFound,
    Role,
    Scope,
    Unauthorized,
    WorkerState,
)
from tracker.identity import Accounts, DeviceLogins, Gate, Knock, Workers, keys, new_token
from tracker.identity.caller import DELEGABLE, SCOPES
from tracker.identity.device_login import Ticket
from tracker.identity.rates import Rate, Rates
from tracker.queue.scripts import Script, script_text


@pytest.fixture
def accounts(redis):
    return Accounts(redis)


async def test_a_token_leads_to_its_account(accounts):
    token = await accounts.add("ann", Role.VOLUNTEER)
    caller = await accounts.find(token)
    assert (caller.account, caller.role, caller.act) == ("ann", Role.VOLUNTEER, None)


async def test_only_the_whole_token_counts(accounts):
    token = await accounts.add("ann", Role.VOLUNTEER)
    other = await accounts.add("bob", Role.ADMIN)
    mixed = "_".join([*other.split("_")[:2], token.split("_")[2]])
    for wrong in (
        token[:-1],
        token[:-1] + "g",
        token.upper(),
        mixed,
        new_token(),
        "",
        token + "\n",
    ):
        with pytest.raises(Unauthorized):
            await accounts.find(wrong)


async def test_of_many_who_want_a_name_at_once_one_gets_it(accounts):
    results = await asyncio.gather(
        *(accounts.add("ann", Role.VOLUNTEER) for _ in range(10)), return_exceptions=True
    )
    tokens = [result for result in results if isinstance(result, str)]
    assert len(tokens) == 1
    assert all(isinstance(result, Conflict) for result in results if result not in tokens)
    assert (await accounts.find(tokens[0])).account == "ann"


async def test_the_operators_token_is_taken_again_after_redis_lost_everything(accounts, redis):
    token = new_token()
    await accounts.ensure(token, "operator", Role.ADMIN)
    await accounts.ensure(token, "operator", Role.ADMIN)
    await redis.flushall()
    await accounts.ensure(token, "operator", Role.ADMIN)
    assert (await accounts.find(token)).role is Role.ADMIN
    assert await accounts.count() == 1


async def test_an_operators_token_that_was_replaced_does_not_come_back(accounts):
    stolen = new_token()
    await accounts.ensure(stolen, "operator", Role.ADMIN)
    _, token = await accounts.renew("operator")
    await accounts.ensure(stolen, "operator", Role.ADMIN)
    with pytest.raises(Unauthorized):
        await accounts.find(stolen)
    assert (await accounts.find(token)).account == "operator"


async def test_an_operators_new_token_takes_the_place_of_the_old_ones(accounts):
    lost, new = new_token(), new_token()
    await accounts.ensure(lost, "operator", Role.ADMIN)
    await accounts.ensure(new, "operator", Role.ADMIN, renew=True)
    with pytest.raises(Unauthorized):
        await accounts.find(lost)
    assert (await accounts.find(new)).role is Role.ADMIN


async def test_a_revoked_operator_stays_revoked(accounts):
    token = new_token()
    await accounts.ensure(token, "operator", Role.ADMIN)
    await accounts.revoke("operator")
    await accounts.ensure(token, "operator", Role.ADMIN)
    with pytest.raises(Unauthorized):
        await accounts.find(token)


async def test_nobody_can_revoke_or_renew_who_is_not_there(accounts):
    with pytest.raises(NotFound):
        await accounts.revoke("nobody")
    with pytest.raises(NotFound):
        await accounts.renew("nobody")


async def test_an_account_has_several_tokens_and_each_can_be_taken_away_alone(accounts):
    first = await accounts.add("ann", Role.VOLUNTEER)
    second = await accounts.add_token("ann", "laptop")
    await accounts.find(second.text)
    rows = {row.label: row for row in await accounts.tokens("ann")}
    assert set(rows) == {"first", "laptop"}
    assert rows["laptop"].id == second.id
    assert rows["laptop"].created is not None
    assert rows["laptop"].used is not None
    assert rows["first"].used is None

    assert await accounts.drop_token("ann", second.id) == "laptop"
    with pytest.raises(Unauthorized):
        await accounts.find(second.text)
    assert (await accounts.find(first)).account == "ann"
    with pytest.raises(NotFound):
        await accounts.drop_token("ann", second.id)


async def test_nobody_can_take_away_a_token_of_somebody_else(accounts):
    token = await accounts.add("ann", Role.VOLUNTEER)
    await accounts.add("bob", Role.VOLUNTEER)
    with pytest.raises(NotFound):
        await accounts.drop_token("bob", token.split("_")[1])
    assert (await accounts.find(token)).account == "ann"


async def test_a_token_may_be_limited_and_never_has_more_than_its_account(accounts):
    await accounts.add("ann", Role.ADMIN)
    both = frozenset({Scope.JOBS, Scope.DELEGATE})
    limited = await accounts.add_token("ann", "jobs", scopes=both)
    assert (await accounts.find(limited.text)).scopes == {Scope.JOBS}
    [row] = [row for row in await accounts.tokens("ann") if row.label == "jobs"]
    assert set(row.scopes) == both
    everything = await accounts.add_token("ann", "all")
    assert (await accounts.find(everything.text)).scopes == SCOPES[Role.ADMIN]


async def test_a_token_ends_when_its_time_is_over(accounts):
    await accounts.add("ann", Role.VOLUNTEER)
    short = await accounts.add_token("ann", "a visit", lasts=timedelta(seconds=0.2))
    assert (await accounts.find(short.text)).account == "ann"
    await asyncio.sleep(0.25)
    with pytest.raises(Unauthorized, match="expired"):
        await accounts.find(short.text)


async def test_tokens_that_have_ended_make_room_and_are_shown_for_a_month(accounts, redis):
    await accounts.add("ann", Role.VOLUNTEER)
    second = timedelta(seconds=1)
    ids = [(await accounts.add_token("ann", str(n), lasts=second)).id for n in range(99)]

    async def ended(ago, *ids):
        end = (datetime.now(UTC) - ago).timestamp() * 1000
        for token_id in ids:
            await redis.hset(keys.token(token_id), "expires", end)

    await ended(timedelta(days=29), *ids)
    assert len(await accounts.tokens("ann")) == 100
    await accounts.add_token("ann", "new")
    assert {row.label for row in await accounts.tokens("ann")} == {"first", "new"}

    ids = [(await accounts.add_token("ann", str(n), lasts=second)).id for n in range(2)]
    await ended(timedelta(days=31), ids[0])
    assert {row.label for row in await accounts.tokens("ann")} == {"first", "new", "1"}
    assert not await redis.exists(keys.token(ids[0]))
    await ended(timedelta(days=31), ids[1])
    await accounts.add_token("ann", "newer")
    assert not await redis.exists(keys.token(ids[1]))


async def test_the_number_of_an_accounts_tokens_is_bounded(accounts):
    await accounts.add("ann", Role.VOLUNTEER)
    for number in range(99):
        await accounts.add_token("ann", str(number))
    with pytest.raises(Conflict, match="100 tokens"):
        await accounts.add_token("ann", "one more")
    _, token = await accounts.renew("ann")
    assert [row.label for row in await accounts.tokens("ann")] == ["renewed"]
    assert (await accounts.find(token)).account == "ann"


async def test_who_has_no_rights_over_jobs_has_none_to_lend(accounts):
    await accounts.add("robo", Role.BOT)
    await accounts.add("ann", Role.VOLUNTEER, "1")
    await accounts.add("mod", Role.MODERATOR, "2")
    await accounts.add("lead", Role.ADMIN, "3")
    with pytest.raises(Forbidden, match="not linked"):
        await accounts.delegate("robo", "4")
    with pytest.raises(Forbidden, match="only admins"):
        await accounts.delegate("robo", "1")
    for discord_id in ("2", "3"):
        token, _ = await accounts.delegate("robo", discord_id)
        assert (await accounts.find(token)).scopes == DELEGABLE
    narrow, _ = await accounts.delegate("robo", "3", frozenset({Scope.JOBS, Scope.ACCOUNTS}))
    assert (await accounts.find(narrow)).scopes == {Scope.JOBS}
    assert [row.label for row in await accounts.tokens("lead")] == ["first"]
    await accounts.revoke("lead")
    with pytest.raises(Forbidden, match="revoked"):
        await accounts.delegate("robo", "3")


async def test_a_banned_person_or_bot_lends_nothing(accounts, redis):
    await accounts.add("robo", Role.BOT)
    await accounts.add("lead", Role.ADMIN, "1")
    workers = Workers(redis)
    token, _ = await accounts.delegate("robo", "1")
    await workers.set_state("robo", None, WorkerState.BANNED, reason="stolen", by="root")
    with pytest.raises(Unauthorized):
        await accounts.find(token)
    await workers.set_state("robo", None, WorkerState.ACTIVE, reason="found", by="root")
    await workers.set_state("lead", None, WorkerState.BANNED, reason="cheats", by="root")
    with pytest.raises(Forbidden, match="cheats"):
        await accounts.delegate("robo", "1")


NAMES = [file.name.removesuffix(".lua") for file in (files("tracker.identity") / "lua").iterdir()]


@pytest.mark.parametrize("name", sorted(name for name in NAMES if not name.startswith("_")))
async def test_every_script_states_its_contract_and_compiles(name, redis):
    text = (files("tracker.identity") / "lua" / f"{name}.lua").read_text()
    for part in ("-- KEYS  1 {a", "-- ARGV  1", "-- Returns "):
        assert part in text
    expanded = script_text(name, "tracker.identity")
    assert "-- include:" not in expanded
    assert await redis.script_load(expanded) == Script(name, "tracker.identity").sha1


async def test_the_keyspace_is_as_it_is_told(redis, accounts):
    """Every key that identities leave has the name and the type that `keys` says."""
    token = await accounts.add("ann", Role.ADMIN, "1")
    gate, devices = Gate(redis, Rates(address=Rate(0.01, 3))), DeviceLogins(redis)
    await gate.admit(Knock(token, "somewhere", "lease", "pc"))
    codes = await devices.start("pc", "", "somewhere")
    login = await devices.find(codes.user, "ann")
    await devices.make_ticket(Ticket(login.id, "pc", "ann", None, "ann", "0" * 12))
    with pytest.raises(NotFound):
        await devices.find("BBBB-BBBB", "ann")
    told = dict(re.findall(r"^    \{accounts\}:(\w+)\S* +(\w+) ", keys.__doc__, re.MULTILINE))
    found = {}
    for key in await redis.keys("*"):
        root, _, rest = key.partition(":")
        assert root == keys.ROOT
        found[rest.split(":")[0]] = await redis.type(key)
    assert found == told
