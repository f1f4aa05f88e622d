"""`Resources`: what `create_app` built, as the routes get it."""

from dataclasses import dataclass

from redis.asyncio import Redis

from .audience import Audience
from .audit import Audit
from .dedupe import Dedupe
from .dedupe.rebuild import Rebuild
from .events import EventLog
from .idempotency import Answers
from .identity import Accounts, AddressHasher, DeviceLogins, Gate, Workers
from .leasing import Leasing
from .meter import Meter
from .model_files import ModelFiles
from .project import Project
from .queue import Failures, JobQueue
from .queue.selection import Selections
from .queue.undo import Actions
from .settings import Settings
from .stats import Statistics
from .storage import ShardStore
from .turnstile import Turnstile


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """One of each; they live as long as the app."""

    settings: Settings
    redis: Redis
    queue: JobQueue
    selections: Selections
    actions: Actions
    events: EventLog
    accounts: Accounts
    addresses: AddressHasher
    answers: Answers
    devices: DeviceLogins
    gate: Gate
    workers: Workers
    audit: Audit
    project: Project
    failures: Failures
    meter: Meter
    turnstile: Turnstile  #: for lease requests
    leasing: Leasing
    statistics: Statistics
    store: ShardStore
    files: ModelFiles
    dedupe: Dedupe
    rebuild: Rebuild
    audience: Audience  #: of the event streams
