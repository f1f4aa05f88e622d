"""What an admin asks about jobs: which are there, take these back, undo that."""

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from laion_protocol.manifest import Count
from laion_protocol.message import Message
from laion_protocol.states import FailureClass, JobState, Outcome, Stage

from .names import JobId, Name, Reason
from .work import Progress

#: a month is the longest that anybody asks for
Seconds = Annotated[float, Field(ge=0, le=10**7)]
ActionId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
#: what a requeue did to a job; see `Requeued`
RequeueVerdict = Literal["requeued", "unchanged", "alive", "unknown"]
#: `taken`: another worker has, or had, the job since; `handed_in`: its shard came; `changed`:
#: something else happened to it; `unknown`: this action did not touch it
UndoVerdict = Literal["undone", "taken", "handed_in", "changed", "unknown"]


class AttemptRow(Message):
    """One lease of a job; without `outcome` it runs, or its shard is being checked."""

    number: int
    account: str
    worker: str
    stage: Stage
    leased_at: AwareDatetime
    ended_at: AwareDatetime | None
    outcome: Outcome | None
    failure_class: FailureClass | None
    message: str


class ReplicaRow(Message):
    """A result that came when another one was there already, as its worker told it."""

    attempt: int
    account: str
    worker: str
    pairs_sha256: str = Field(description="equal for two workers that saw the same pairs")
    pairs: Count
    kept: Count
    handed_in_at: AwareDatetime


class FinishedJob(Message):
    """What is kept for ever about an accepted job."""

    account: str
    worker: str
    attempt: int
    outcome: Outcome
    kept: Count
    pairs: Count
    bytes: Count
    accepted_at: AwareDatetime
    fetcher: str | None = Field(description="the account whose intermediate was scored")


class JobDetail(Message):
    """`GET /v1/admin/jobs/{crawl}/{index}`: all that is known of one job."""

    job: JobId
    path: str
    source: str
    part: int
    parts: int
    state: JobState
    attempts: tuple[AttemptRow, ...] = Field(
        description="the last 40; gone a week after acceptance"
    )
    last_heartbeat: AwareDatetime | None = Field(description="while leased, as these")
    deadline: AwareDatetime | None
    progress: Progress | None
    not_before: AwareDatetime | None = Field(description="while pending: earliest next lease")
    ahead: int | None = Field(description="never leased yet: how many jobs come before it")
    fetched_by: str | None = Field(description="account/worker, while it waits to be scored")
    finished: FinishedJob | None
    replicas: tuple[ReplicaRow, ...]


class JobFilter(Message):
    """Which jobs. All that is given must hold.

    `account` and `worker` are those of the job's lease, or of its last one. `outcome`,
    `failure_class` and `message` are those of the last attempt that ended.
    """

    state: Literal[JobState.LEASED, JobState.VERIFYING, JobState.PENDING, JobState.DEAD] = Field(
        default=JobState.LEASED, description="`pending`: those that were leased before"
    )
    crawl: Name | None = None
    silent_for: Seconds | None = Field(
        default=None, description="leased, and no heartbeat for at least so many seconds"
    )
    older_than: Seconds | None = Field(
        default=None, description="in this state for at least so many seconds"
    )
    account: Name | None = None
    worker: Name | None = None
    outcome: Outcome | None = None
    failure_class: FailureClass | None = None
    message: str | None = Field(
        default=None, min_length=1, max_length=200, description="part of it, in any case"
    )
    path: str | None = Field(
        default=None,
        min_length=1,
        max_length=1024,
        description="pattern of the file's path: * ? []",
    )

    @model_validator(mode="after")
    def _silence_is_of_leases(self) -> Self:
        if self.silent_for is not None and self.state is not JobState.LEASED:
            raise ValueError(f"silent_for asks for leased jobs, and state for {self.state} ones")
        return self


class FindJobs(Message):
    """`POST /v1/admin/jobs/search`."""

    filter: JobFilter
    limit: int = Field(default=25, ge=0, le=1000, description="how many to list")


class FoundJob(Message):
    """One job, with its lease, or else its last one."""

    job: JobId
    source: str
    part: int
    state: JobState
    since: AwareDatetime = Field(description="when it came to be in this state")
    account: str
    worker: str
    attempt: int
    last_heartbeat: AwareDatetime | None = Field(description="while leased, as the deadline")
    deadline: AwareDatetime | None
    progress: Progress | None
    outcome: Outcome | None = Field(description="of the last attempt that ended")
    failure_class: FailureClass | None
    message: str


class FoundJobs(Message):
    """The jobs that a filter means now. `selection` stands for them in `RequeueSelection`."""

    total: Count = Field(description="how many there are; fewer may be listed")
    jobs: tuple[FoundJob, ...] = Field(
        description="longest silent, or longest in this state, first"
    )
    as_of: AwareDatetime
    selection: str = Field(description="for a quarter of an hour; empty when none can be taken")


class RequeueSelection(Message):
    """`POST /v1/admin/jobs/requeue-selection`: take back what a search showed, and no more.

    A job that changed since is left alone. Sent again, it goes on with what is left.
    """

    filter: JobFilter = Field(description="the one that the selection was made with")
    selection: str = Field(max_length=100)
    reason: Reason
    most: int = Field(default=1000, ge=1, le=10_000, description="jobs in this call")


class SelectionRequeued(Message):
    """What became of the selected jobs."""

    action: ActionId = Field(description="to undo it, within a day")
    selected: Count = Field(description="how many the search found")
    verdicts: dict[RequeueVerdict, Count] = Field(description="of this call's jobs")
    jobs: dict[JobId, RequeueVerdict] = Field(description="the first thousand of them")
    gone: Count = Field(description="seen in the search, and changed before they were taken")
    left: Count = Field(description="not tried yet; send the same again for them")


class ActionRow(Message):
    """One bulk action that can still be undone."""

    action: ActionId
    time: AwareDatetime
    expires: AwareDatetime
    actor: str
    via: str = ""
    verb: str
    reason: str
    jobs: Count = Field(description="that it changed")
    undone: Count


class Actions(Message):
    """`GET /v1/admin/actions`, newest first."""

    rows: tuple[ActionRow, ...]


class Undo(Message):
    """`POST /v1/admin/actions/{action}/undo`."""

    reason: Reason
    dry_run: bool = False


class Undone(Message):
    """What became of each job of the action, those that could not be put back first."""

    action: ActionId
    dry_run: bool
    verdicts: dict[UndoVerdict, Count]
    jobs: dict[JobId, UndoVerdict] = Field(description="the first thousand of them")
