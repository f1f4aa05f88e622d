"""`Workers`: which machines take part, and how an admin wants them treated."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from redis.asyncio import Redis

from laion_protocol import Conflict, NotFound, Stage, WorkerState
from laion_protocol.messages import WorkerRow
from tracker.queue.scripts import Script, new_call

from . import keys
from .caller import ACTIVE, Standing, standing_of

_SEEN: Final = Script("seen", __package__)
_SET_STATE: Final = Script("set_state", __package__)
_FORGET: Final = Script("forget_worker", __package__)
#: Who asked for work or beat within this time takes part.
RECENT: Final = timedelta(minutes=5)
_SLICE: Final = 500
_STANDING: Final = ("state", "reason", "by", "since", "until")


class Workers:
    """The registry. A worker is in it from its first request on, under its account's name."""

    def __init__(self, redis: Redis) -> None:
        """Use `redis`, made with `decode_responses=True`; the caller closes it."""
        self._redis: Any = redis

    async def seen(
        self, account: str, worker: str, *, version: str = "", stages: Iterable[Stage] = ()
    ) -> Standing:
        """A worker asks for work, or beats; how it stands, its account aside."""
        answer = await _SEEN(
            self._redis, keys.ROOT, account, worker, version[:64], " ".join(sorted(stages))
        )
        return standing_of(answer)

    async def state(self, account: str, worker: str | None = None) -> Standing:
        """How an account stands, or a worker: as its account, if that is drained or banned.

        Who is not known stands as active.
        """
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.hmget(keys.account(account), *_STANDING)
            if worker is not None:
                pipe.hmget(keys.worker(account, worker), *_STANDING)
            found = [_current(row) for row in await pipe.execute()]
        for wanted in (WorkerState.BANNED, WorkerState.DRAINING):
            for standing in found:
                if standing.state is wanted:
                    return standing
        return ACTIVE

    async def set_state(
        self,
        account: str,
        worker: str | None,
        state: WorkerState,
        *,
        reason: str,
        by: str,
        until: datetime | None = None,
    ) -> Standing:
        """Drain, ban or pardon a worker, or with None the whole account; how it stood before.

        What is leased is not touched: whoever bans also cancels (`JobQueue.cancel`).

        Raises:
            NotFound: no such account, or no such worker of it.
        """
        answer = await _SET_STATE(
            self._redis, keys.ROOT, account, worker or "", state.value, reason, by,
            until.timestamp() if until else "",
        )  # fmt: skip
        if answer[0] == "no_account":
            raise NotFound(f"there is no account {account!r}; `account list` shows all")
        if answer[0] == "no_worker":
            raise NotFound(f"the account {account!r} has no worker {worker!r}")
        return standing_of(answer[1:])

    async def forget(self, account: str, worker: str) -> None:
        """Take a worker off the list; it comes back when it asks for work again.

        Raises:
            NotFound: no such worker.
            Conflict: an admin drained or banned it; that must not be forgotten.
        """
        answer = await _FORGET(self._redis, keys.ROOT, account, worker, new_call())
        if answer[0] == "no_worker":
            raise NotFound(f"the account {account!r} has no worker {worker!r}")
        if answer[0] == "held":
            raise Conflict(f"an admin drained or banned {worker!r}; it stays on the list")

    async def row(self, account: str, worker: str) -> WorkerRow:
        """One worker.

        Raises:
            NotFound: no such worker.
        """
        fields = await self._redis.hgetall(keys.worker(account, worker))
        if not fields:
            raise NotFound(f"the account {account!r} has no worker {worker!r}")
        return _row(account, worker, fields)

    async def rows(
        self,
        *,
        account: str | None = None,
        state: WorkerState | None = None,
        seen_since: datetime | None = None,
        limit: int = 1000,
    ) -> tuple[WorkerRow, ...]:
        """Workers of an account, or of all: those in `state`, seen since then; by account, the
        one seen last first. Their own state, not their account's."""
        names = [account] if account else sorted(await self._redis.smembers(keys.NAMES))
        least = seen_since.timestamp() * 1000 if seen_since else "-inf"
        rows: list[WorkerRow] = []
        for start in range(0, len(names), _SLICE):
            part = names[start : start + _SLICE]
            async with self._redis.pipeline(transaction=False) as pipe:
                for name in part:
                    pipe.zrevrangebyscore(keys.workers(name), "+inf", least)
                lists = await pipe.execute()
            both = [(name, one) for name, found in zip(part, lists, strict=True) for one in found]
            for first in range(0, len(both), _SLICE):
                rows += await self._some(both[first : first + _SLICE], state)
                if len(rows) >= limit:
                    return tuple(rows[:limit])
        return tuple(rows)

    async def active(self) -> int:
        """How many workers were seen within the last five minutes."""
        least = (datetime.now(UTC) - RECENT).timestamp() * 1000
        return int(await self._redis.zcount(keys.SEEN, least, "+inf"))

    async def _some(
        self, both: list[tuple[str, str]], state: WorkerState | None
    ) -> list[WorkerRow]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for account, worker in both:
                pipe.hgetall(keys.worker(account, worker))
            found = await pipe.execute()
        rows = [_row(*pair, fields) for pair, fields in zip(both, found, strict=True) if fields]
        return [row for row in rows if state is None or row.state is state]


def _current(fields: list[str | None]) -> Standing:
    standing = standing_of([field or "" for field in fields])
    over = standing.until is not None and standing.until <= datetime.now(UTC)
    return ACTIVE if over else standing


def _row(account: str, worker: str, fields: dict[str, str]) -> WorkerRow:
    standing = _current([fields.get(field) for field in _STANDING])

    def time(field: str) -> datetime:
        return datetime.fromtimestamp(float(fields[field]) / 1000, UTC)

    return WorkerRow(
        account=account,
        name=worker,
        state=standing.state,
        reason=standing.reason,
        by=standing.by,
        since=standing.since,
        until=standing.until,
        first_seen=time("first"),
        last_seen=time("last"),
        version=fields.get("version", ""),
        stages=tuple(Stage(word) for word in fields.get("stages", "").split()),
    )
