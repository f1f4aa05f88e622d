"""A call whose line to Redis broke before the answer came is sent again, and done once."""

import asyncio
from contextlib import contextmanager

import pytest

from laion_protocol import AccessDenied, Conflict, NotFound, Role, Unauthorized, Unavailable
from tracker.audit import Audit
from tracker.connection import connect
from tracker.idempotency import Act, Answer, Answers
from tracker.identity import Accounts, Caller, DeviceLogins, Workers
from tracker.identity.device_login import Ticket
from tracker.queue.scripts import Script

ANN = Caller(account="ann", role=Role.ADMIN)


class Line:
    """Carries bytes to Redis and back, until it is told to lose an answer."""

    def __init__(self, redis_path):
        self._redis_path = redis_path
        self._word = b""
        self._broken = set()
        self.calls = set()

    @contextmanager
    def losing(self, word):
        """Loses the answer to the next command that has this in it; it is done all the same."""
        self._word = word.encode()
        yield
        assert not self._word, "it was not sent"

    async def carry(self, reader, writer):
        self.calls.add(asyncio.current_task())
        redis_reader, redis_writer = await asyncio.open_unix_connection(self._redis_path)
        back = asyncio.create_task(self._carry_back(redis_reader, writer))
        while asked := await reader.read(2**16):
            if self._word and self._word in asked:
                self._word = b""
                self._broken.add(writer)
            redis_writer.write(asked)
        redis_writer.close()
        await back

    async def _carry_back(self, reader, writer):
        while (said := await reader.read(2**16)) and writer not in self._broken:
            writer.write(said)
        writer.close()


@pytest.fixture
async def line(redis_url, tmp_path_factory):
    line = Line(redis_url.removeprefix("unix://"))
    path = str(tmp_path_factory.mktemp("l") / "s")
    async with await asyncio.start_unix_server(line.carry, path):
        async with connect(f"unix://{path}") as line.far:
            yield line
        await asyncio.wait(line.calls)


@pytest.fixture
def losing(line, redis):
    """While a script is run, once, its answer is lost; over the client that it gives."""

    async def losing(name, act):
        script = Script(name, "tracker.identity")
        await redis.script_load(script.source)
        with line.losing(script.sha1):
            return await act

    return losing


async def test_an_act_is_written_down_once(line, losing, redis):
    audit = Audit(line.far)
    await losing("note", audit.write(ANN, "pause", "A", result="ok"))
    await audit.write(ANN, "pause", "A", result="ok")
    assert len(await Audit(redis).rows(9)) == 2


async def test_an_account_is_not_in_its_own_way(line, losing):
    accounts = Accounts(line.far)
    token = await losing("add_account", accounts.add("ann", Role.VOLUNTEER))
    assert (await accounts.find(token)).account == "ann"
    await losing("add_account", accounts.add_without_token("bob", Role.VOLUNTEER))
    with pytest.raises(Conflict):
        await accounts.add_without_token("bob", Role.VOLUNTEER)


async def test_a_token_is_added_once_and_its_end_is_no_mistake(line, losing):
    accounts = Accounts(line.far)
    await accounts.add("ann", Role.VOLUNTEER)
    for number in range(98):
        await accounts.add_token("ann", str(number))
    made = await losing("add_token", accounts.add_token("ann", "the hundredth"))
    assert await losing("drop_token", accounts.drop_token("ann", made.id)) == "the hundredth"
    with pytest.raises(NotFound):
        await accounts.drop_token("ann", made.id)


async def test_a_worker_is_taken_off_the_list_once(line, losing, redis):
    await Accounts(redis).add("ann", Role.VOLUNTEER)
    workers = Workers(line.far)
    await workers.seen("ann", "pc")
    await losing("forget_worker", workers.forget("ann", "pc"))
    with pytest.raises(NotFound):
        await workers.forget("ann", "pc")


async def test_a_ticket_is_taken_by_who_holds_it_and_is_then_used_up(line, losing):
    logins, ticket = DeviceLogins(line.far), Ticket("0", "pc", "ann", None, "ann", "1")
    text = await logins.make_ticket(ticket)
    assert await losing("ticket_take", logins.take_ticket(text)) == ticket
    with pytest.raises(Unauthorized):
        await logins.take_ticket(text)


@pytest.mark.parametrize("approve", [True, False])
async def test_a_machine_hears_what_a_person_said(line, losing, redis, approve):
    accounts, logins = Accounts(redis), DeviceLogins(line.far)
    await accounts.add("ann", Role.VOLUNTEER)
    codes = await logins.start("pc", "")
    login = await logins.find(codes.user, "ann")
    await losing("device_decide", logins.decide(login.id, "ann", approve=approve, by="ann"))
    claim = losing("device_claim", logins.claim(codes.device))
    if not approve:
        with pytest.raises(AccessDenied):
            await claim
        return
    token, account = await claim
    assert (await accounts.find(token)).account == account == "ann"
    assert len(await accounts.tokens("ann")) == 2


async def test_an_act_under_a_key_is_not_in_its_own_way(line, losing):
    answers = Answers(line.far)
    act = await losing("act_begin", answers.begin("ann", "k", b"x"))
    assert isinstance(act, Act)
    with pytest.raises(Unavailable, match="under way"):
        await answers.begin("ann", "k", b"x")
    await losing("act_end", answers.end(act, Answer(200, "", "done")))
    assert await answers.begin("ann", "k", b"x") == Answer(200, "", "done")
