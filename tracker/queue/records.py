"""What the queue answers: small frozen records, times aware (UTC) and by Redis's clock."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, Self

from laion_protocol import (
    CrawlState,
    DropReason,
    FailureClass,
    InvalidRequest,
    Manifest,
    Outcome,
    Recipe,
    Stage,
)
from laion_protocol.messages import JobCounts, Progress
from laion_protocol.states import JobState

from .ids import JobRef

#: what an admin's requeue did to one job, see `laion_protocol.messages.Requeued`
Verdict = Literal["requeued", "unchanged", "alive", "unknown"]


@dataclass(slots=True, frozen=True, kw_only=True)
class RetryPolicy:
    """When a job that fails again and again is given up, and how long it waits in between.

    DESIGN §5: at most 5 attempts, by at least 3 accounts, so that one bad machine cannot kill a
    job. `max_leases` bounds what does not count (hand-backs, failures of line or server), and it
    too kills only a job that `min_accounts` held: where there are fewer volunteers than that, a
    hopeless job is never dead, but tried no more often than every `max_delay` or so.
    """

    max_attempts: int = 5  #: counted ones: expired, invalid, failed by fault of job or worker
    min_accounts: int = 3  #: that spent those attempts, or held the job when `max_leases` counts
    max_leases: int = 20  #: of any ending, since the job was added or brought back from the dead
    #: after the first failure, or the second hand-back; doubles each time
    delay: timedelta = timedelta(seconds=30)
    max_delay: timedelta = timedelta(hours=1)

    def __post_init__(self) -> None:
        if not 1 <= self.max_attempts <= self.max_leases <= 40:  # 40: attempts remembered in Lua
            raise ValueError("1 <= max_attempts <= max_leases <= 40 does not hold")
        if not 1 <= self.min_accounts <= self.max_attempts:
            raise ValueError("1 <= min_accounts <= max_attempts does not hold")
        if not timedelta(0) <= self.delay <= self.max_delay:
            raise ValueError("0 <= delay <= max_delay does not hold")

    def changed(self, max_attempts: int | None, min_accounts: int | None) -> Self:
        """The same, but for what a crawl asks for.

        Raises:
            InvalidRequest: the two do not go together.
        """
        try:
            return replace(
                self,
                max_attempts=max_attempts or self.max_attempts,
                min_accounts=min_accounts or self.min_accounts,
            )
        except ValueError as error:
            raise InvalidRequest(f"max_attempts and min_accounts: {error}") from error


@dataclass(slots=True, frozen=True, kw_only=True)
class Crawl:
    """A crawl as it was added, and whether it hands out jobs now."""

    name: str
    state: CrawlState
    base: str
    files: int  #: how many WARC or WAT files
    parts: int  #: chunks per file
    recipe: Recipe
    recipe_sha256: str
    seed: int  #: of the order in which jobs are handed out
    added_at: datetime

    @property
    def jobs(self) -> int:
        """How many jobs: one per chunk."""
        return self.files * self.parts


@dataclass(slots=True, frozen=True)
class Chunk:
    """What a job reads: part `part` of `parts` of one file."""

    path: str  #: as the crawl lists it
    source: str  #: where to read it: the crawl's base and the path
    part: int
    parts: int


@dataclass(slots=True, frozen=True, kw_only=True)
class Fetched:
    """The accepted intermediate that the score stage of a job reads."""

    lease_id: str  #: under which it was handed in
    account: str
    worker: str
    manifest: Manifest


@dataclass(slots=True, frozen=True, kw_only=True)
class HeldLease:
    """A lease that is alive, or over but still good for a late result."""

    lease_id: str
    job: JobRef
    account: str
    worker: str
    attempt: int  #: 1 for the job's first lease
    leased_at: datetime
    beat_at: datetime  #: of the last heartbeat, or of the lease itself
    deadline: datetime
    progress: Progress
    stage: Stage = Stage.HYBRID
    fetched: Fetched | None = None  #: at stage score


@dataclass(slots=True, frozen=True)
class Extended:
    """The answer to a heartbeat."""

    deadline: datetime
    crawl_state: CrawlState
    worker: str  #: who holds the lease


@dataclass(slots=True, frozen=True, kw_only=True)
class Submission:
    """A shard, or at stage fetch an intermediate, that waits for the tracker's check."""

    lease_id: str
    job: JobRef
    account: str
    worker: str
    attempt: int
    late: bool  #: handed in after the lease's deadline
    manifest: Manifest
    submitted_at: datetime
    claim: str = ""  #: by which this verifier may judge it
    stage: Stage = Stage.HYBRID
    fetched: Fetched | None = None  #: at stage score: what was scored


@dataclass(slots=True, frozen=True)
class StaleLeases:
    """Leases without a recent heartbeat, silent longest first; `total` counts the unlisted too."""

    total: int
    leases: tuple[HeldLease, ...]


@dataclass(slots=True, frozen=True)
class Seen:
    """The state that an admin saw jobs in, and when."""

    state: JobState  #: leased or dead
    at: datetime


@dataclass(slots=True, frozen=True, kw_only=True)
class Attempt:
    """One lease of a job and how it ended; `outcome` is None while it runs or is verified."""

    number: int
    account: str
    worker: str
    leased_at: datetime
    ended_at: datetime | None = None
    outcome: Outcome | None = None
    failure_class: FailureClass | None = None
    message: str = ""
    stage: Stage = Stage.HYBRID


@dataclass(slots=True, frozen=True, kw_only=True)
class Replica:
    """A result that came when another one was there already: what its worker says of it.

    Nothing of it was uploaded or checked. `pairs_sha256` tells whether two workers saw the same.
    """

    number: int  #: of its attempt
    account: str
    worker: str
    pairs_sha256: str
    pairs: int
    kept: int
    handed_in_at: datetime


@dataclass(slots=True, frozen=True, kw_only=True)
class Finished:
    """What is kept for ever about an accepted job."""

    account: str
    worker: str
    attempt: int
    outcome: Outcome  #: ok or late_ok
    kept: int
    pairs: int
    bytes: int  #: of the shard's files
    accepted_at: datetime
    fetcher: str | None = None  #: the account whose intermediate was scored, if one was


@dataclass(slots=True, frozen=True, kw_only=True)
class JobView:
    """All that the queue knows of one job."""

    job: JobRef
    chunk: Chunk
    state: JobState
    attempts: tuple[Attempt, ...] = ()  #: the last 40; gone some days after acceptance
    lease: HeldLease | None = None  #: while leased
    not_before: datetime | None = (
        None  #: while pending, after an attempt: its next lease's earliest time
    )
    ahead: int | None = None  #: never leased yet: how many jobs come before it
    finished: Finished | None = None  #: once accepted
    fetched: Fetched | None = None  #: while the job is to be scored
    replicas: tuple[Replica, ...] = ()  #: as long as the attempts are known


@dataclass(slots=True, frozen=True, kw_only=True)
class FoundJob:
    """A job that an admin searched for: its lease, or else its last one."""

    job: JobRef
    state: JobState
    since: datetime  #: when it came to be in this state
    attempt: Attempt
    ended: Attempt | None  #: the last attempt that ended
    beat_at: datetime | None  #: while leased, as are these
    deadline: datetime | None
    progress: Progress | None


@dataclass(slots=True, frozen=True, kw_only=True)
class QueueStats:
    """One crawl's numbers, all of one instant."""

    name: str
    state: CrawlState
    jobs: JobCounts
    attempts: int  #: leases ever given
    pairs: int  #: in accepted shards, as are kept, bytes and drops
    kept: int
    bytes: int
    drops: Mapping[DropReason, int]
    accepted_last_hour: int
    accepted_last_day: int
    stale: int
    scoring: int = 0  #: pending jobs that wait to be scored
    fetched: int = 0  #: intermediates ever accepted


@dataclass(slots=True, frozen=True)
class Credit:
    """What one account's accepted shards add up to."""

    jobs: int
    kept: int
    fetched: int = 0  #: intermediates
