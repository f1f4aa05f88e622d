"""`Gate`: lets a request in, or says why not; one script call for all that come in together."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from redis.asyncio import Redis

from laion_protocol import RateLimited, Role, Unauthorized
from tracker.queue.scripts import Script

from . import keys
from .caller import ACTIVE, Caller, scopes_of, standing_of
from .rates import Rates
from .token import Token

_GATE: Final = Script("gate", __package__)
#: Lua's `unpack` and Redis's patience with one script are far away from this.
_MOST_AT_ONCE: Final = 128

Kind = Literal["call", "lease", "beat"]


@dataclass(frozen=True, slots=True)
class Knock:
    """What a request shows at the gate. `address` is a keyed hash; `token` None: none was sent."""

    token: str | None
    address: str = ""
    kind: Kind = "call"
    worker: str = ""


class Gate:
    """Checks token and account, limits rates and notes the worker, in one round trip.

    Requests that arrive while the script runs are answered by its next run, all at once: the more
    there are, the less each costs.
    """

    def __init__(self, redis: Redis, rates: Rates) -> None:
        """Use `redis`, made with `decode_responses=True`; the caller closes it."""
        self._redis = redis
        self._rates = rates.args()
        self._waiting: list[tuple[tuple[str, ...], asyncio.Future[list[str]]]] = []
        self._running: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def admit(self, knock: Knock) -> Caller:
        """Who calls.

        Raises:
            Unauthorized: nobody does; the token is wrong, revoked or over.
            RateLimited: too many calls by this token or from this address.
        """
        token = Token.parse(knock.token or "")
        # what has not the form of a token is looked up as one that is not known
        shown = (token.id, token.sha256) if token else ("-", "-")
        answer = await self._ask((*shown, knock.address, knock.kind, knock.worker))
        return _caller(answer, token.id if token else "", knock.worker)

    async def admit_anyone(self, address: str) -> None:
        """Let a call in that needs no token.

        Raises:
            RateLimited: too many of them from this address.
        """
        answer = await self._ask(("", "", address, "call", ""))
        if answer[0] == "limited":
            raise _limited(answer)

    async def _ask(self, args: tuple[str, ...]) -> list[str]:
        loop = self._loop = self._loop or asyncio.get_running_loop()  # see `BatchingRedis`
        future: asyncio.Future[list[str]] = loop.create_future()
        self._waiting.append((args, future))
        if self._running is None or self._running.done():
            self._running = loop.create_task(self._answer_all())
        return await future

    async def _answer_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_MOST_AT_ONCE], self._waiting[_MOST_AT_ONCE:]
            futures = [future for _, future in batch]
            try:
                args = [arg for args, _ in batch for arg in args]
                answers = await _GATE(self._redis, keys.ROOT, *self._rates, *args)
            except asyncio.CancelledError:
                for future in (*futures, *(future for _, future in self._waiting)):
                    future.cancel()
                raise
            except Exception as error:  # noqa: BLE001 (each of those who wait gets it)
                _settle(futures, [error] * len(futures))
            else:
                _settle(futures, answers)


def _settle(futures: Sequence[asyncio.Future[Any]], results: Sequence[Any]) -> None:
    for future, result in zip(futures, results, strict=True):
        if future.done():  # its request went away
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)


def _caller(answer: list[str], token_id: str, worker: str) -> Caller:
    match answer[0]:
        case "unknown":
            raise Unauthorized("this token is not known; check it, or ask an admin for a new one")
        case "revoked":
            raise Unauthorized("this account was revoked; ask the project's admins why")
        case "expired":
            raise Unauthorized("this token has expired; ask for a new one")
        case "limited":
            raise _limited(answer)
    _, account, role, act, scopes, limited, *standings = answer
    return Caller(
        account=account,
        role=Role(role),
        act=act or None,
        scopes=scopes_of(Role(role), scopes if int(limited) else None, bool(act)),
        token_id=token_id,
        standing=standing_of(standings[:5]),
        worker=worker if len(standings) > 5 else "",
        worker_standing=standing_of(standings[5:]) if len(standings) > 5 else ACTIVE,
    )


def _limited(answer: list[str]) -> RateLimited:
    seconds = int(answer[1]) / 1000
    return RateLimited(
        f"too many calls; wait {max(1, round(seconds))} s, then go on", retry_after=seconds
    )
