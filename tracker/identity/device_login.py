"""`DeviceLogins`: a machine gets a token when a person says so elsewhere (RFC 8628). The token is
good for a worker's calls and nothing else, whosever account it is.

The machine shows a short user code and keeps a long device code. Both are in Redis as hashes only,
for a quarter of an hour. Who may approve: the owner of an account, by a token with all its rights,
on the web page; an admin there, for a new account; the bot, for a person of Discord. The machine's
token ends no later than the one by which it was approved.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from redis.asyncio import Redis

from laion_protocol import (
    AccessDenied,
    AuthorizationPending,
    CodeExpired,
    Conflict,
    Forbidden,
    NotFound,
    RateLimited,
    Role,
    SlowDown,
    Unauthorized,
    Unavailable,
)
from tracker.queue.scripts import Script, new_call

from . import keys
from .token import Token

#: No vowels, so no words, and nothing that looks like something else (RFC 8628, 6.1).
ALPHABET: Final = "BCDFGHJKLMNPQRSTVWXZ"
_LENGTH: Final = 8
LASTS: Final = timedelta(minutes=15)
INTERVAL: Final = timedelta(seconds=5)
#: A form that lies open for longer is asked for again.
TICKET: Final = timedelta(minutes=5)
_ANSWER_LOST: Final = timedelta(minutes=1)
#: At eight letters of twenty, whoever has ten tries in a quarter of an hour hits one of ten
#: thousand open logins once in seven years.
_MOST_TRIES: Final = 10
_MOST_OPEN: Final = 10_000
#: Of one address: a room of machines, and nobody fills all places alone.
_MOST_OPEN_HERE: Final = 20

_START: Final = Script("device_start", __package__)
_FIND: Final = Script("device_find", __package__)
_DECIDE: Final = Script("device_decide", __package__)
_CLAIM: Final = Script("device_claim", __package__)
_MAKE_TICKET: Final = Script("ticket_make", __package__)
_TAKE_TICKET: Final = Script("ticket_take", __package__)


@dataclass(frozen=True, slots=True)
class Codes:
    """What a machine gets when it begins to log in."""

    device: str
    user: str  #: ABCD-EFGH


@dataclass(frozen=True, slots=True)
class Login:
    """A login that waits for a person's word."""

    id: str  #: the hash of its device code
    worker: str
    client: str
    created: datetime


@dataclass(frozen=True, slots=True)
class Ticket:
    """One decision that a person may make on the web page."""

    login_id: str
    worker: str
    account: str
    new_role: Role | None  #: the account is to be made, with this role
    by: str
    token_id: str  #: of theirs


class DeviceLogins:
    """Begins logins, lets people decide them, and hands out the tokens."""

    def __init__(self, redis: Redis) -> None:
        """Use `redis`, made with `decode_responses=True`; the caller closes it."""
        self._redis = redis

    async def start(self, worker: str, client: str, address: str = "") -> Codes:
        """Begin a login; `address` is a keyed hash, or empty for this machine itself.

        Raises:
            RateLimited: too many of this address are under way.
            Unavailable: too many are under way.
        """
        device = secrets.token_hex(32)
        for _ in range(3):  # that a code is taken happens once in a million logins
            letters = "".join(secrets.choice(ALPHABET) for _ in range(_LENGTH))
            answer = await _START(
                self._redis, keys.ROOT, _hash(device), _hash(letters), worker, client,
                _seconds(LASTS), _seconds(INTERVAL), _MOST_OPEN, address, _MOST_OPEN_HERE,
            )  # fmt: skip
            if answer[0] == "started":
                return Codes(device, f"{letters[:4]}-{letters[4:]}")
            if answer[0] == "too_many_here":
                raise RateLimited(
                    f"{_MOST_OPEN_HERE} machines of your address wait to be let in, which is the "
                    "most; let one in, or wait",
                    retry_after=float(answer[1]),
                )
        raise Unavailable("too many machines log in at this moment; try again", retry_after=60)

    async def find(self, user_code: str, who: str) -> Login:
        """The login of this code, which `who` typed; case, spaces and dashes do not matter.

        Raises:
            NotFound: there is none, or it was decided.
            RateLimited: `who` typed too many wrong ones.
        """
        letters = "".join(char for char in user_code.upper() if char.isalnum())[:32]
        answer = await _FIND(
            self._redis, keys.ROOT, _hash(letters), who, _MOST_TRIES, _seconds(LASTS)
        )
        if answer[0] == "limited":
            raise RateLimited(
                "too many wrong codes; wait a while before the next one",
                retry_after=float(answer[1]),
            )
        if answer[0] == "unknown":
            raise NotFound(
                "no machine waits with this code; check the letters, or let it show a new one"
            )
        _, login_id, worker, client, created = answer
        return Login(login_id, worker, client, datetime.fromtimestamp(float(created) / 1000, UTC))

    async def decide(
        self,
        login_id: str,
        account: str,
        *,
        approve: bool,
        by: str,
        until: datetime | None = None,
    ) -> None:
        """Let the machine in, as a worker of `account`, or not; safe to repeat. Its token is good
        `until` then: as long as the one by which somebody says so.

        Raises:
            NotFound: the login is over, or there is no such account.
            Forbidden: the account is banned.
        """
        word = "approved" if approve else "denied"
        answer = await _DECIDE(
            self._redis, keys.ROOT, login_id, word, account, by, until.timestamp() if until else ""
        )
        if answer[0] == "no_account":
            raise NotFound(f"there is no account {account!r}, or it was revoked")
        if answer[0] == "banned":
            raise Forbidden(f"the account {account!r} was banned: {answer[1]}")
        if answer[0] == "over":
            raise NotFound("this login is over; let the machine show a new code")

    async def claim(self, device_code: str) -> tuple[str, str]:
        """`(token, account)`, once a person said yes.

        Raises:
            AuthorizationPending, SlowDown: ask again later.
            AccessDenied: a person said no.
            CodeExpired: start over.
            Conflict: the account has too many tokens.
        """
        token = Token.new()
        answer = await _CLAIM(
            self._redis, keys.ROOT, _hash(device_code), token.id, token.sha256,
            _seconds(_ANSWER_LOST),
        )  # fmt: skip
        match answer:
            case ["pending"]:
                raise AuthorizationPending(
                    "nobody has approved the code yet; ask again",
                    retry_after=INTERVAL.total_seconds(),
                )
            case ["slow_down", interval]:
                raise SlowDown(
                    f"wait {interval} s between two questions", retry_after=float(interval)
                )
            case ["denied"]:
                raise AccessDenied("a person refused this login")
            case ["over"]:
                raise CodeExpired("this login is too old, or was used; start a new one")
            case ["too_many", account]:
                raise Conflict(f"the account {account!r} has too many tokens; revoke some first")
        return token.text, str(answer[1])

    async def make_ticket(self, ticket: Ticket) -> str:
        """What the web page's second form carries, for five minutes and one use."""
        text = secrets.token_hex(32)
        role = ticket.new_role.value if ticket.new_role else ""
        await _MAKE_TICKET(
            self._redis, keys.ROOT, _hash(text), ticket.login_id, ticket.worker, ticket.account,
            role, ticket.by, ticket.token_id, _seconds(TICKET),
        )  # fmt: skip
        return text

    async def take_ticket(self, text: str) -> Ticket:
        """The ticket, which is used up by this.

        Raises:
            Unauthorized: it is none, was used or is too old.
        """
        answer = await _TAKE_TICKET(self._redis, keys.ROOT, _hash(text), new_call())
        if answer[0] == "unknown":
            raise Unauthorized("this form is too old or was sent before; begin again")
        _, login_id, worker, account, role, by, token_id = answer
        return Ticket(login_id, worker, account, Role(role) if role else None, by, token_id)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _seconds(time: timedelta) -> int:
    return int(time.total_seconds())
