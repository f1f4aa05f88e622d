"""What anyone may read."""

from pydantic import AwareDatetime, Field

from laion_protocol.drops import DropReason
from laion_protocol.manifest import Count
from laion_protocol.message import Message
from laion_protocol.states import CrawlState


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
    scoring: Count = Field(default=0, description="of the pending jobs: those that wait for a GPU")
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
    fetched: Count = Field(default=0, description="intermediates that others score")


class Leaderboard(Message):
    """`GET /v1/leaderboard`, by kept samples."""

    rows: tuple[LeaderboardRow, ...]


class Problem(Message):
    """`GET /readyz`: what is missing; and, ready or not, what puts the work at risk."""

    ready: bool
    checks: dict[str, str]
    warnings: tuple[str, ...] = ()
