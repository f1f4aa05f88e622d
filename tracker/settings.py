"""`Settings`: everything about a tracker that its operator may choose."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How one tracker process runs. `redis_url` may hold a password, so no repr shows it."""

    data: Path  #: directory of the shard store and the model files
    redis_url: str = field(repr=False)
    lease_duration: timedelta = timedelta(minutes=5)  #: about five heartbeats
    max_held: int = 8  #: leases that one worker may hold in one crawl
    idle_retry: timedelta = timedelta(seconds=30)  #: a worker without work asks again then
    min_free_bytes: int = 2 * 2**30  #: under this, no jobs are handed out
    max_backlog: int = 1000  #: over so many unchecked shards, no jobs are handed out
    checkers: int = 1  #: shards that this process checks at once; 0 leaves it to other processes
    reap_every: timedelta = timedelta(seconds=5)
    claim_visibility: timedelta = timedelta(minutes=10)  #: more than two checks can take
    orphan_age: timedelta = timedelta(days=7)  #: unfinished uploads are kept so long
    max_event_streams: int = 500
    event_ping: timedelta = timedelta(seconds=15)
    body_seconds: float = 60.0  #: a request's body may not be silent for longer

    @property
    def heartbeat(self) -> timedelta:
        """How often a worker should beat: a lease outlives four lost heartbeats."""
        return self.lease_duration / 5

    @property
    def reserve_bytes(self) -> int:
        """Under this, uploads are refused too: Redis must still be able to write."""
        return self.min_free_bytes // 8
