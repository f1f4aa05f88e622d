"""Who may call, by which token."""

import asyncio

import pytest

from laion_protocol import Conflict, NotFound, Role, Unauthorized
from tracker.accounts import Accounts, new_token


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
