"""`Caller`: who is behind a request, and what they may do."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Final

from laion_protocol import Role, Scope, WorkerState

SCOPES: Final = {
    Role.VOLUNTEER: frozenset({Scope.WORK}),
    Role.MODERATOR: frozenset({Scope.WORK, Scope.JOBS, Scope.WORKERS, Scope.PROJECT, Scope.AUDIT}),
    Role.ADMIN: frozenset(Scope) - {Scope.DELEGATE},
    Role.BOT: frozenset({Scope.DELEGATE}),
}
#: Whoever takes over the bot has a minute of a person's rights at every click: enough to requeue
#: jobs, but not to make an account that lasts or to choose what all workers run.
DELEGABLE: Final = frozenset({Scope.JOBS, Scope.WORKERS, Scope.PROJECT, Scope.AUDIT})


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a worker, or a whole account, may work; and if not, who says so and why."""

    state: WorkerState = WorkerState.ACTIVE
    reason: str = ""
    by: str = ""
    since: datetime | None = None
    until: datetime | None = None


ACTIVE: Final = Standing()


@dataclass(frozen=True, slots=True)
class Caller:
    """The account behind a request, and the bot that acts for it, if one does."""

    account: str
    role: Role
    act: str | None = None
    scopes: frozenset[Scope] = frozenset()
    token_id: str = ""
    standing: Standing = ACTIVE  #: of the account
    worker: str = ""  #: which of its workers, if the request said so (`Laion-Worker`)
    worker_standing: Standing = ACTIVE
    idempotency_key: str = ""

    @property
    def banned(self) -> str | None:
        """Why this account, or the worker that calls, was banned; None if it was not."""
        for standing in (self.standing, self.worker_standing):
            if standing.state is WorkerState.BANNED:
                return standing.reason or "no reason was given"
        return None

    @property
    def draining(self) -> str | None:
        """Why this account, or the worker that calls, gets no more jobs; None if it does."""
        for standing in (self.standing, self.worker_standing):
            if standing.state is WorkerState.DRAINING:
                return standing.reason or "no reason was given"
        return None


@cache
def scopes_of(role: Role, only: str | None, act: bool) -> frozenset[Scope]:
    """What a token may do: all that its account may, unless it is limited to some of it."""
    scopes = SCOPES[role]
    if only is not None:
        scopes &= frozenset(Scope(word) for word in only.split())
    return scopes & DELEGABLE if act else scopes


def standing_of(fields: list[str]) -> Standing:
    """What the scripts say of it: state, reason, by, since, until; times in ms, or empty."""
    if not fields[0]:
        return ACTIVE
    state, reason, by, since, until = fields
    return Standing(WorkerState(state), reason, by, _time(since), _time(until))


def _time(ms: str) -> datetime | None:
    return datetime.fromtimestamp(float(ms) / 1000, UTC) if ms else None
