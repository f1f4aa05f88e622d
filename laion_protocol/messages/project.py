"""The state of the whole project, as admins set it and anyone may read it."""

from pydantic import AwareDatetime, Field

from laion_protocol.message import Message

from .names import Reason
from .work import Announcement


class Pause(Message):
    """`POST /v1/admin/project/pause`: no leases until somebody resumes; workers stop and wait."""

    reason: Reason


class Maintenance(Message):
    """`PUT /v1/admin/project/maintenance`: no leases until `until`; what is leased goes on."""

    until: AwareDatetime
    reason: Reason


class WorkerVersions(Message):
    """`PUT /v1/admin/project/worker-version`: which workers get jobs (PEP 440 versions)."""

    least: str = Field(min_length=1, max_length=64, description="older workers must update")
    required_after: AwareDatetime | None = Field(
        default=None,
        description="until then older workers get jobs and a notice; None: they get none from now",
    )
    reason: Reason
    recommended: str | None = Field(
        default=None, max_length=64, description="older workers get jobs and a notice"
    )


class NewAnnouncement(Message):
    """`POST /v1/admin/announcements`: every worker shows it once."""

    text: str = Field(min_length=1, max_length=500)
    until: AwareDatetime | None = Field(default=None, description="not shown from then on")


class ProjectState(Message):
    """`GET /v1/project`. What is None is not set."""

    paused: Pause | None = None
    maintenance: Maintenance | None = None
    worker_versions: WorkerVersions | None = None
    announcements: tuple[Announcement, ...] = ()
