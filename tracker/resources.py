"""`Resources`: what `create_app` built, as the routes get it."""

import asyncio
from dataclasses import dataclass

from redis.asyncio import Redis

from .accounts import Accounts
from .audit import Audit
from .events import EventLog
from .leasing import Leasing
from .model_files import ModelFiles
from .queue import JobQueue
from .settings import Settings
from .stats import Statistics
from .storage import ShardStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """One of each; they live as long as the app."""

    settings: Settings
    redis: Redis
    queue: JobQueue
    events: EventLog
    accounts: Accounts
    audit: Audit
    leasing: Leasing
    statistics: Statistics
    store: ShardStore
    files: ModelFiles
    streams: asyncio.Semaphore  #: one permit for each event stream that may be open
