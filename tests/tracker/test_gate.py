"""Who is let in, how often, and what the tracker notes about it."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from redis.exceptions import RedisError

from laion_protocol import NotFound, RateLimited, Role, Stage, Unauthorized, WorkerState
from tracker import app, auth
from tracker.identity import (
    UNLIMITED,
    Accounts,
    AddressHasher,
    Gate,
    Knock,
    Rate,
    Rates,
    Workers,
    address_key,
    keys,
    new_token,
)
from tracker.identity.rates import DEFAULT

SLOW = Rate(0.1, 3)  #: three at once, then one in ten seconds


@pytest.fixture
async def token(redis):
    return await Accounts(redis).add("ann", Role.VOLUNTEER)


@pytest.fixture
def workers(redis):
    return Workers(redis)


async def admitted(gate, *knocks):
    """How many of them came in."""
    results = await asyncio.gather(*(gate.admit(knock) for knock in knocks), return_exceptions=True)
    assert all(isinstance(r, RateLimited) for r in results if isinstance(r, Exception)), results
    return sum(not isinstance(result, Exception) for result in results)


async def test_a_token_that_calls_too_often_is_told_how_long_to_wait(redis, token):
    gate = Gate(redis, replace(UNLIMITED, call=Rate(1, 3)))
    assert await admitted(gate, *[Knock(token, "here")] * 10) == 3
    with pytest.raises(RateLimited, match="wait") as refusal:
        await gate.admit(Knock(token, "here"))
    assert 0.5 < refusal.value.retry_after <= 1
    await asyncio.sleep(refusal.value.retry_after)
    assert await admitted(gate, *[Knock(token, "here")] * 3) >= 1


async def test_each_token_has_its_own_limit(redis, token):
    other = (await Accounts(redis).add_token("ann", "laptop")).text
    gate = Gate(redis, replace(UNLIMITED, call=SLOW))
    assert await admitted(gate, *[Knock(token)] * 5, *[Knock(other)] * 5) == 6


async def test_a_storm_of_lease_requests_does_not_touch_heartbeats(redis, token):
    gate = Gate(redis, replace(DEFAULT, lease=SLOW, address=SLOW))
    assert await admitted(gate, *[Knock(token, "here", "lease")] * 50) == 3
    assert await admitted(gate, *[Knock(token, "here", "beat")] * 50) == 50
    beats = Gate(redis, replace(UNLIMITED, beat=SLOW))
    assert await admitted(beats, *[Knock(token, "here", "beat")] * 5) < 3


async def test_an_address_is_limited_over_all_its_tokens(redis, token):
    other = (await Accounts(redis).add_token("ann", "laptop")).text
    gate = Gate(redis, replace(UNLIMITED, address=SLOW))
    assert await admitted(gate, *[Knock(token, "a")] * 2, *[Knock(other, "a")] * 4) == 3
    assert await admitted(gate, Knock(token, "b")) == 1
    # what an address refused did not cost the token anything
    both = Gate(redis, replace(UNLIMITED, address=SLOW, call=Rate(0.1, 4)))
    assert await admitted(both, *[Knock(token, "c")] * 9) == 3
    assert await admitted(both, *[Knock(token, "d")] * 9) == 1


async def test_wrong_tokens_cannot_be_tried_without_end_and_cost_the_others_nothing(redis, token):
    gate = Gate(redis, replace(UNLIMITED, anonymous=SLOW))
    results = await asyncio.gather(
        *(gate.admit(Knock(new_token(), "a")) for _ in range(9)),
        *(gate.admit(Knock("nonsense", "a")) for _ in range(9)),
        return_exceptions=True,
    )
    assert [type(result) for result in results].count(Unauthorized) == 3
    assert [type(result) for result in results].count(RateLimited) == 15
    assert await admitted(gate, *[Knock(token, "a")] * 20) == 20
    with pytest.raises(RateLimited):
        await gate.admit_anyone("a")
    await gate.admit_anyone("b")


async def test_the_machine_itself_has_no_limit_by_address(redis):
    gate = Gate(redis, replace(UNLIMITED, anonymous=SLOW, address=SLOW))
    for _ in range(5):
        await gate.admit_anyone("")
    assert not await redis.keys("{accounts}:rate:*"), "somebody counts its calls"


async def test_buckets_leave_nothing_behind_once_they_are_full_again(redis, token):
    gate = Gate(redis, replace(UNLIMITED, address=SLOW, anonymous=SLOW))
    await gate.admit(Knock(token, "a"))
    await gate.admit_anyone("a")
    left = [await redis.pttl(key) for key in await redis.keys("{accounts}:rate:*")]
    assert len(left) == 2
    assert all(0 < ms <= 10_001 for ms in left)


def test_rates_are_made_more_generous_together():
    assert Rates().times(2).beat == Rate(DEFAULT.beat.per_second * 2, DEFAULT.beat.burst * 2)
    assert {rate for rate in Rates().times(0).args()[::2]} == {0}
    assert len(UNLIMITED.args()) == 12


async def test_many_requests_at_once_are_each_answered_for_themselves(redis, token):
    accounts = Accounts(redis)
    tokens = [await accounts.add(f"a{n}", Role.VOLUNTEER) for n in range(20)]
    gate = Gate(redis, UNLIMITED)
    knocks = [Knock(tokens[n % 20] if n % 3 else new_token()) for n in range(400)]
    results = await asyncio.gather(*map(gate.admit, knocks), return_exceptions=True)
    for n, result in enumerate(results):
        if n % 3:
            assert result.account == f"a{n % 20}"
        else:
            assert isinstance(result, Unauthorized)


async def test_one_that_gives_up_waiting_does_not_disturb_the_others(redis, token):
    gate = Gate(redis, UNLIMITED)
    tasks = [asyncio.create_task(gate.admit(Knock(token))) for _ in range(10)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert [result.account for result in results[1:]] == ["ann"] * 9


async def test_when_redis_fails_everyone_who_waits_hears_of_it_and_the_next_is_served(
    redis, token, monkeypatch
):
    gate = Gate(redis, UNLIMITED)
    with monkeypatch.context() as patch:

        async def broken(*_):
            raise RedisError("away")

        patch.setattr(redis, "evalsha", broken)
        results = await asyncio.gather(
            *(gate.admit(Knock(token)) for _ in range(5)), return_exceptions=True
        )
    assert [str(result) for result in results] == ["away"] * 5
    assert (await gate.admit(Knock(token))).account == "ann"


async def test_a_worker_is_noted_as_it_comes_and_as_it_says_what_it_is(redis, token, workers):
    gate = Gate(redis, UNLIMITED)
    caller = await gate.admit(Knock(token, worker="pc"))
    assert (caller.worker, caller.worker_standing.state) == ("pc", WorkerState.ACTIVE)
    assert await workers.active() == 1
    await workers.seen("ann", "pc", version="1.2", stages=[Stage.SCORE, Stage.HYBRID])
    [row] = await workers.rows()
    assert (row.account, row.name, row.version) == ("ann", "pc", "1.2")
    assert row.stages == (Stage.HYBRID, Stage.SCORE)
    assert row.state is WorkerState.ACTIVE
    assert row.first_seen == row.last_seen
    assert datetime.now(UTC) - row.last_seen < timedelta(seconds=5)
    assert (await gate.admit(Knock(token))).worker == ""


async def test_a_worker_is_written_down_again_only_every_ten_seconds(redis, token, workers):
    await workers.seen("ann", "pc")
    before = await workers.row("ann", "pc")
    await workers.seen("ann", "pc")
    assert (await workers.row("ann", "pc")) == before
    long_ago = (before.last_seen - timedelta(seconds=11)).timestamp() * 1000
    await redis.hset("{accounts}:worker:ann/pc", "last", long_ago)
    await workers.seen("ann", "pc")
    assert (await workers.row("ann", "pc")).last_seen >= before.last_seen


async def test_a_drained_or_banned_worker_is_told_at_the_gate_with_the_reason(
    redis, token, workers
):
    gate = Gate(redis, UNLIMITED)
    await workers.seen("ann", "pc")
    await workers.seen("ann", "other")
    before = await workers.set_state(
        "ann", "pc", WorkerState.BANNED, reason="sends noise", by="lead"
    )
    assert before.state is WorkerState.ACTIVE
    caller = await gate.admit(Knock(token, worker="pc"))
    assert (caller.banned, caller.draining) == ("sends noise", None)
    assert (await gate.admit(Knock(token, worker="other"))).banned is None
    assert (await workers.state("ann", "pc")).by == "lead"

    before = await workers.set_state("ann", "pc", WorkerState.DRAINING, reason="moving", by="x")
    assert (before.state, before.reason, before.by) == (WorkerState.BANNED, "sends noise", "lead")
    caller = await gate.admit(Knock(token, worker="pc"))
    assert (caller.banned, caller.draining) == (None, "moving")
    await workers.set_state("ann", "pc", WorkerState.ACTIVE, reason="", by="x")
    caller = await gate.admit(Knock(token, worker="pc"))
    assert (caller.banned, caller.draining) == (None, None)


async def test_a_banned_account_is_let_in_to_hear_why_until_the_ban_ends(redis, token, workers):
    gate = Gate(redis, UNLIMITED)
    await workers.seen("ann", "pc")
    end = datetime.now(UTC) + timedelta(hours=1)
    await workers.set_state("ann", None, WorkerState.BANNED, reason="why", by="lead", until=end)
    assert (await gate.admit(Knock(token, worker="pc"))).banned == "why"
    standing = await workers.state("ann", "pc")
    assert (standing.state, standing.reason, standing.until) == (WorkerState.BANNED, "why", end)
    assert [row.state for row in await workers.rows()] == [WorkerState.ACTIVE]
    [row] = await Accounts(redis).rows()
    assert (row.state, row.reason, row.until) == (WorkerState.BANNED, "why", end)
    await redis.hset(keys.account("ann"), "until", int(time.time() * 1000) - 1)
    assert (await gate.admit(Knock(token, worker="pc"))).banned is None
    assert (await workers.state("ann", "pc")).state is WorkerState.ACTIVE
    [row] = await Accounts(redis).rows()
    assert (row.state, row.reason) == (WorkerState.ACTIVE, "")


async def test_who_is_not_there_cannot_be_banned(redis, token, workers):
    for account, worker in (("nobody", None), ("nobody", "pc"), ("ann", "nothing")):
        with pytest.raises(NotFound):
            await workers.set_state(account, worker, WorkerState.BANNED, reason="x", by="x")


async def test_workers_are_listed_by_account_state_and_time(redis, token, workers):
    await Accounts(redis).add("bob", Role.VOLUNTEER)
    for account, name in (("bob", "b1"), ("ann", "a1"), ("ann", "a2")):
        await workers.seen(account, name)
        await asyncio.sleep(0.002)
    await workers.set_state("ann", "a1", WorkerState.DRAINING, reason="x", by="lead")
    assert [row.name for row in await workers.rows()] == ["a2", "a1", "b1"]
    assert [row.name for row in await workers.rows(account="bob")] == ["b1"]
    assert [row.name for row in await workers.rows(state=WorkerState.DRAINING)] == ["a1"]
    assert [row.name for row in await workers.rows(limit=1)] == ["a2"]
    later = datetime.now(UTC) + timedelta(seconds=1)
    assert await workers.rows(seen_since=later) == ()


async def test_names_of_workers_are_bounded_and_bans_outlast_them(redis, token, workers):
    await workers.seen("ann", "bad")
    await workers.set_state("ann", "bad", WorkerState.BANNED, reason="x", by="lead")
    standings = [await workers.seen("ann", f"w{number}") for number in range(510)]
    assert [one.state for one in standings].count(WorkerState.ACTIVE) == 499
    assert standings[-1].state is WorkerState.DRAINING
    assert "500 workers" in standings[-1].reason
    assert len(await workers.rows(account="ann")) == 500
    caller = await Gate(redis, UNLIMITED).admit(Knock(token, worker="one-more"))
    assert "500 workers" in (caller.draining or "")
    assert (await workers.seen("ann", "w7")).state is WorkerState.ACTIVE

    a_day_ago = (datetime.now(UTC) - timedelta(days=1)).timestamp() * 1000
    for name in ("bad", "w7"):
        await redis.zadd(keys.workers("ann"), {name: a_day_ago})
    assert (await workers.seen("ann", "new")).state is WorkerState.ACTIVE
    assert (await workers.seen("ann", "newer")).state is WorkerState.DRAINING
    names = {row.name for row in await workers.rows(account="ann")}
    assert (len(names), "w7" in names) == (500, False)
    assert (await workers.state("ann", "bad")).state is WorkerState.BANNED


def test_an_address_is_told_by_a_keyed_hash_and_by_trusted_proxies_only(tmp_path):
    key = address_key(tmp_path)
    assert key == address_key(tmp_path)
    assert (tmp_path / "address.key").stat().st_mode & 0o077 == 0
    plain, proxied = AddressHasher(key), AddressHasher(key, ["10.0.0.0/8", "127.0.0.1/32"])
    one = plain.hashed("203.0.113.9", "198.51.100.7")
    assert "203" not in one
    assert len(one) == 24
    assert one == proxied.hashed("203.0.113.9", "198.51.100.7")
    assert one == proxied.hashed("10.1.2.3", "198.51.100.7, 203.0.113.9, 10.9.9.9")
    assert one == plain.hashed("::ffff:203.0.113.9", "")
    assert one != AddressHasher(b"another").hashed("203.0.113.9", "")
    assert plain.hashed("127.0.0.1", "203.0.113.9") == ""
    assert proxied.hashed("127.0.0.1", "203.0.113.9") == one
    assert plain.hashed("2001:db8::1", "") == plain.hashed("2001:db8::ffff", "")
    assert plain.hashed("2001:db8::1", "") != plain.hashed("2001:db8:0:1::1", "")
    assert proxied.hashed("10.1.2.3", "nonsense") not in ("", one)


#: For the operator's own probes; and a form whose fields hold the token, checked in the route.
WITHOUT = {("GET", "/healthz"), ("GET", "/readyz"), ("POST", "/device")}
DOORS = {auth.anyone, auth.maybe_known, auth._anyone_known, auth._worker, auth._leaser}


def doors(dependant):
    for inner in dependant.dependencies:
        if inner.call in DOORS or getattr(inner.call, "__qualname__", "").startswith("needs."):
            yield inner.call
        yield from doors(inner)


def test_every_route_asks_the_gate():
    routes = [route for module in app._ROUTERS for route in module.router.routes]
    assert len(routes) > 30
    open_ = {
        (method, route.path)
        for route in routes
        if not list(doors(route.dependant))
        for method in route.methods
    }
    assert open_ == WITHOUT
