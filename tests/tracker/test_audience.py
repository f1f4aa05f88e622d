"""Strangers cannot take the event feed from those who need it."""

from contextlib import ExitStack

import pytest

from laion_protocol import RateLimited, Unauthorized, Unavailable
from tracker.audience import Audience


def test_one_address_and_one_account_have_a_few_seats_each():
    audience = Audience(most=100, each=2)
    with ExitStack() as seats:
        for _ in range(2):
            seats.enter_context(audience.seat("a", None))
            seats.enter_context(audience.seat("a", "ann"))
        for account in (None, "ann"):
            with (
                pytest.raises(RateLimited, match="of your a") as refusal,
                audience.seat("a", account),
            ):
                pass
            assert refusal.value.retry_after
        seats.enter_context(audience.seat("b", None))
        seats.enter_context(audience.seat("a", "bob"))
        for _ in range(5):  # the tracker's own machine
            seats.enter_context(audience.seat("", None))
    with audience.seat("a", None), audience.seat("a", "ann"):
        pass


def test_strangers_leave_seats_to_those_who_have_a_token():
    audience = Audience(most=10, each=8)
    with ExitStack() as seats:
        for number in range(8):
            seats.enter_context(audience.seat(str(number), None))
        with pytest.raises(Unavailable, match="with a token") as refusal, audience.seat("x", None):
            pass
        assert refusal.value.retry_after
        for _ in range(2):
            seats.enter_context(audience.seat("x", "bot"))
        with pytest.raises(Unavailable), audience.seat("x", "bot"):
            pass
    with audience.seat("x", None):
        pass


async def test_however_many_strangers_follow_the_bot_does_too(start):
    tracker = await start(
        trusted_proxies=("127.0.0.0/8",), max_event_streams=5, max_event_streams_each=2
    )
    session = await tracker.raw()

    def follow(address, **headers):
        return session.get("/v1/events", headers={"X-Forwarded-For": address, **headers})

    known = {"Authorization": f"Bearer {tracker.admin_token}"}
    async with follow("203.0.113.1") as one, follow("203.0.113.1"), follow("203.0.113.2"):
        for address, status, word in (
            ("203.0.113.1", 429, "rate_limited"),
            ("2001:db8::1", 200, None),
            ("2001:db8::2", 503, "unavailable"),
        ):
            answer = await follow(address)
            assert answer.status == status
            if word is not None:
                assert (await answer.json())["error"] == word
                assert int(answer.headers["Retry-After"]) >= 1
        async with follow("203.0.113.1", **known) as answer:
            assert answer.status == 200
            await tracker.add_crawl("A")
            assert b"id: A=" in await answer.content.readline()
    assert one.status == 200


async def test_a_reader_that_goes_leaves_its_seat(start):
    tracker = await start(trusted_proxies=("127.0.0.0/8",), max_event_streams_each=1)
    session = await tracker.raw()
    headers = {"X-Forwarded-For": "203.0.113.1"}

    async def status(path="/v1/events"):
        async with session.get(path, headers=headers) as answer:
            return answer.status

    assert await status("/v1/events?after=x") == 422  # which takes none
    async with session.get("/v1/events", headers=headers):
        assert await status() == 429
    for _ in range(50):
        if await status() == 200:
            return
    pytest.fail("the seat is still taken")


async def test_a_wrong_token_is_no_strangers(tracker):
    client = await tracker.client(f"lw_{'0' * 12}_{'0' * 64}")
    with pytest.raises(Unauthorized):
        async for _ in client.events():
            pass
