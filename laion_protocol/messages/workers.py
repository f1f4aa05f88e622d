"""The machines that take part, as admins, their owners and anyone may see them."""

from pydantic import AwareDatetime, Field

from laion_protocol.message import Message
from laion_protocol.states import Stage, WorkerState


class WorkerRow(Message):
    """One machine of an account. A state that is over is not shown."""

    account: str
    name: str
    state: WorkerState = Field(description="its own; its account may be drained or banned too")
    reason: str = Field(default="", description="why it is drained or banned")
    by: str = Field(default="", description="the admin who said so")
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    first_seen: AwareDatetime
    last_seen: AwareDatetime = Field(description="to about ten seconds")
    version: str = ""
    stages: tuple[Stage, ...] = ()


class WorkerView(Message):
    """One machine, as anyone may see it."""

    account: str
    name: str
    state: WorkerState
    first_seen: AwareDatetime
    last_seen: AwareDatetime
    version: str = ""
    stages: tuple[Stage, ...] = ()


class WorkerViews(Message):
    """`GET /v1/workers/{account}`: the machine seen last comes first."""

    account: str
    workers: tuple[WorkerView, ...]
