"""Requests and answers of wire protocol v1, one model each. Times are aware, UTC."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from .drops import DropReason
from .manifest import Count, FileEntry, Manifest
from .message import Message
from .recipe import Recipe
from .states import CrawlState, FailureClass, IdleReason, JobState, Outcome, Role

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Reason = Annotated[str, Field(min_length=1, max_length=500)]
#: `<crawl>~<job index>~<32 hex>`: the 128 random bits are the fencing token, the rest an address
LeaseId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}~\d{1,12}~[0-9a-f]{32}$")]
#: `<crawl>/<job index>`
JobId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}/\d{1,12}$")]


# ── a worker's calls ─────────────────────────────────────────────────────────────────────────────


class LeaseRequest(Message):
    """`POST /v1/leases`: a worker asks for a job."""

    worker: Name = Field(description="this machine's name, unique within its account")
    version: str = Field(max_length=64)


class Lease(Message):
    """One worker's exclusive right to a job until `deadline`.

    `lease_id` is also the idempotency key of everything the worker sends about this attempt: a
    repeated completion is answered as the first one was.
    """

    lease_id: LeaseId
    job: JobId
    source: str = Field(description="URL or path of the WARC or WAT file")
    part: int = Field(ge=0)
    parts: int = Field(ge=1)
    recipe: Recipe
    recipe_sha256: str
    attempt: int = Field(ge=1)
    deadline: AwareDatetime
    heartbeat_seconds: float = Field(
        gt=0, description="how often to beat; the lease lasts about five beats"
    )


class Idle(Message):
    """No job now, why, and when to ask again."""

    reason: IdleReason
    message: str
    retry_after: float = Field(ge=0, description="seconds")


class LeaseAnswer(Message):
    """A lease, or the reason why there is none. Exactly one of the two is set."""

    lease: Lease | None = None
    idle: Idle | None = None


class HeldLeases(Message):
    """`GET /v1/leases?worker=`: what this worker still holds, after a crash."""

    leases: tuple[Lease, ...]


class Progress(Message):
    """How far a job is, for people to look at; nothing is decided by it."""

    stage: str = Field(default="", max_length=32)
    pairs: Count = 0
    downloaded: Count = 0
    kept: Count = 0


class Heartbeat(Message):
    """`POST /v1/leases/{id}/heartbeat`."""

    progress: Progress = Progress()


class HeartbeatAnswer(Message):
    """The lease's new deadline, and what the worker should do."""

    deadline: AwareDatetime
    directive: Literal["continue", "pause"] = "continue"
    message: str = ""


class UploadRequest(Message):
    """`POST /v1/leases/{id}/uploads`: the files that the worker wants to send."""

    files: tuple[FileEntry, ...] = Field(min_length=1, max_length=64)


class UploadSlot(Message):
    """Where one file goes: `PUT url` with `headers`, unless it is there already."""

    name: str
    url: str = Field(description="relative to the tracker, or absolute for a store of its own")
    headers: dict[str, str] = Field(default_factory=dict)
    present: bool = Field(description="a file of this name, size and SHA-256 has arrived before")


class UploadPlan(Message):
    """One slot a file, in the order asked for."""

    slots: tuple[UploadSlot, ...]


class Completion(Message):
    """`POST /v1/leases/{id}/complete`: every file is uploaded."""

    manifest: Manifest


class Receipt(Message):
    """What became of a lease; repeated calls get the same receipt."""

    job: JobId
    state: JobState
    outcome: Outcome | None = Field(
        default=None, description="None while the shard is being verified"
    )
    message: str = ""


class Release(Message):
    """`POST /v1/leases/{id}/release`: the volunteer stops; hand the job back."""

    reason: Reason = "the worker is shutting down"


class Failure(Message):
    """`POST /v1/leases/{id}/fail`: the worker cannot do this job."""

    failure_class: FailureClass
    message: Reason


# ── what anyone may read ─────────────────────────────────────────────────────────────────────────


class JobCounts(Message):
    """How many jobs are in each state; they sum to `total`."""

    total: Count
    pending: Count
    leased: Count
    verifying: Count
    accepted: Count
    dead: Count


class CrawlStats(Message):
    """One crawl's progress."""

    name: str
    state: CrawlState
    jobs: JobCounts
    attempts: Count = Field(description="leases ever given")
    pairs: Count = Field(description="seen in accepted shards")
    kept: Count = Field(description="rows of accepted shards")
    drops: dict[DropReason, Count]
    bytes: Count = Field(description="of accepted shards")
    accepted_last_hour: Count
    accepted_last_day: Count
    stale: Count = Field(description="leases that missed at least two heartbeats")
    eta_seconds: float | None = Field(description="at the last hour's rate; None without one")


class Stats(Message):
    """`GET /v1/stats`: the same numbers for page, bot and others."""

    time: AwareDatetime
    crawls: tuple[CrawlStats, ...]
    workers_active: Count = Field(description="asked for work or beat within the last 5 minutes")
    accounts: Count


class LeaderboardRow(Message):
    """What one account's accepted shards add up to."""

    rank: int
    account: str
    jobs: Count
    kept: Count


class Leaderboard(Message):
    """`GET /v1/leaderboard`, by kept samples."""

    rows: tuple[LeaderboardRow, ...]


# ── an admin's calls ─────────────────────────────────────────────────────────────────────────────


class NewCrawl(Message):
    """`POST /v1/admin/crawls`. `paths` are the files, relative to `base`."""

    name: Name
    base: str = Field(max_length=1024, description="URL prefix or directory of the files")
    paths: tuple[Annotated[str, Field(min_length=1, max_length=1024)], ...] = Field(min_length=1)
    parts: int = Field(default=1, ge=1, le=10_000, description="chunks per file")
    recipe: Recipe
    seed: int | None = Field(
        default=None, ge=0, lt=2**31, description="of the order; random by default"
    )


class CrawlAdded(Message):
    """What `add` made."""

    name: str
    jobs: int
    recipe_sha256: str


class NewAccount(Message):
    """`POST /v1/admin/accounts`."""

    name: Name
    role: Role = Role.VOLUNTEER
    discord_id: str | None = Field(default=None, pattern=r"^\d{1,20}$")


class AccountAdded(Message):
    """A new account and its token, which is shown this once."""

    name: str
    role: Role
    token: str


class OpenJob(Message):
    """A job that somebody holds, for an admin to look at."""

    job: JobId
    source: str
    part: int
    account: str
    worker: str
    attempt: int
    leased_at: AwareDatetime
    last_heartbeat: AwareDatetime
    deadline: AwareDatetime
    progress: Progress


class StaleJobs(Message):
    """`GET /v1/admin/jobs/stale`: silent longest first; `total` may exceed what is listed."""

    total: int
    jobs: tuple[OpenJob, ...]


class Requeue(Message):
    """`POST /v1/admin/jobs/requeue`: take jobs away from their workers, or dead ones back."""

    jobs: tuple[JobId, ...] = Field(min_length=1, max_length=1000)
    reason: Reason
    dry_run: bool = False
    silent_since: AwareDatetime | None = Field(
        default=None,
        description="leave a leased job alone if it had a heartbeat after this time: what the "
        "admin saw as stale may have come back meanwhile",
    )


class Requeued(Message):
    """What became of each job; `unchanged`: pending or done; `alive`: it beat meanwhile."""

    dry_run: bool
    jobs: dict[JobId, Literal["requeued", "unchanged", "alive", "unknown"]]


class DelegationRequest(Message):
    """`POST /v1/delegations`: the bot acts for a person, for one minute."""

    discord_id: str = Field(pattern=r"^\d{1,20}$")
    interaction_id: str = Field(pattern=r"^\d{1,20}$", description="for the audit log")


class Delegation(Message):
    """A token with that person's rights, for `expires_in` seconds."""

    token: str
    account: str
    expires_in: int


class Problem(Message):
    """`GET /readyz` when something is missing."""

    ready: bool
    checks: dict[str, str]
