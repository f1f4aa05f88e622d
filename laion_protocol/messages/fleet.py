"""How an admin wants a worker, or a whole account, to be treated."""

from pydantic import AwareDatetime, Field

from laion_protocol.manifest import Count
from laion_protocol.message import Message
from laion_protocol.states import WorkerState

from .names import Reason
from .workers import WorkerRow


class Fleet(Message):
    """`GET /v1/admin/workers`: by account, the one seen last first."""

    rows: tuple[WorkerRow, ...]


class Treat(Message):
    """`POST /v1/admin/workers/{account}/{worker}/drain | ban | pardon`, and the same for a whole
    account: `POST /v1/admin/accounts/{name}/drain | ban | pardon`."""

    reason: Reason
    until: AwareDatetime | None = Field(default=None, description="over from then on by itself")
    dry_run: bool = False


class Treated(Message):
    """How a worker, or an account, stands now, and how it stood."""

    account: str
    worker: str | None = Field(description="None: all workers of the account")
    dry_run: bool
    before: WorkerState
    state: WorkerState
    cancelled: Count = Field(description="leases taken from it; it learns at its next heartbeat")
