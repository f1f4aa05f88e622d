"""What a worker and the tracker say to each other."""

from typing import Literal

from pydantic import AwareDatetime, Field

from laion_protocol.manifest import Count, FileEntry, Manifest
from laion_protocol.message import Message
from laion_protocol.recipe import Recipe, Sha256
from laion_protocol.shard_format import FILE_NAME_PATTERN, MAX_FILE_BYTES
from laion_protocol.states import FailureClass, IdleReason, JobState, Outcome, Stage

from .names import JobId, LeaseId, Name, Reason


class LeaseRequest(Message):
    """`POST /v1/leases`: a worker asks for a job."""

    worker: Name = Field(description="this machine's name, unique within its account")
    version: str = Field(max_length=64)
    stages: tuple[Stage, ...] = Field(
        default=(Stage.HYBRID,), min_length=1, max_length=3, description="what this worker can do"
    )


class Announcement(Message):
    """What the project tells its volunteers."""

    id: int = Field(ge=0, description="rises; a worker shows each once")
    text: str = Field(max_length=500)
    until: AwareDatetime | None = None


class InputFile(Message):
    """A file of an intermediate, for the score stage to read."""

    name: str = Field(pattern=FILE_NAME_PATTERN)
    size: int = Field(ge=0, le=MAX_FILE_BYTES, description="bytes")
    sha256: Sha256
    url: str = Field(description="relative to the tracker, or absolute for a store of its own")


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
    stage: Stage = Stage.HYBRID
    inputs: tuple[InputFile, ...] = Field(default=(), description="stage score: the intermediate")
    fetched: Manifest | None = Field(default=None, description="stage score: its manifest")
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
    announcements: tuple[Announcement, ...] = ()
    notice: str = Field(default="", description="for the volunteer, e.g. that an update is due")


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
    directive: Literal["continue", "pause", "drain"] = Field(
        default="continue",
        description="`pause`: stop at once and beat on, the lease is kept; `drain`: finish what is "
        "held and ask for no more; `continue`: go on, whatever the message says",
    )
    message: str = ""
    announcements: tuple[Announcement, ...] = ()


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
