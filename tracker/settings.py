"""`Settings`: everything about a tracker that its operator may choose."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from .identity.rates import DEFAULT, Rates


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How one tracker process runs. `redis_url` may hold a password, so no repr shows it."""

    data: Path  #: directory of the shard store and the model files
    redis_url: str = field(repr=False)
    #: `s3://bucket/prefix` if shards lie there, else they lie in `data`
    store_url: str = ""
    s3_endpoint: str = ""  #: of an S3 service that is not Amazon's
    max_store_bytes: int = 0  #: that may lie in the store in all; 0 sets no bound
    lease_duration: timedelta = timedelta(minutes=5)  #: about five heartbeats
    max_held: int = 8  #: leases that one worker may hold in one crawl
    max_held_account: int = 64  #: leases that all workers of one account may hold in one crawl
    max_lease: timedelta = timedelta(hours=48)  #: no heartbeat makes a lease last longer
    idle_retry: timedelta = timedelta(seconds=30)  #: a worker without work asks again then
    leases_at_once: int = 8  #: lease requests that this process works on; the others wait
    lease_patience: float = 5.0  #: for so many seconds, and not more than the next of them
    max_lease_queue: int = 2000
    min_free_bytes: int = 2 * 2**30  #: under this, no jobs are handed out
    max_backlog: int = 1000  #: over so many unchecked shards, no jobs are handed out
    #: pairs that the dataset is expected to have: so large is the first filter of the dedupe files,
    #: and each further one four times as large
    dedupe_pairs: int = 2**20
    #: an AOF that is synced each second is at most two behind; one more to spare
    dedupe_settle: timedelta = timedelta(seconds=3)
    #: more than passes between the note of a shard's pairs and its acceptance
    dedupe_takeover: timedelta = timedelta(seconds=10)
    dedupe_reserve: timedelta = timedelta(days=1)  #: more than a job and its check take
    checkers: int = 1  #: shards that this process checks at once; 0 leaves it to other processes
    reap_every: timedelta = timedelta(seconds=5)
    #: a shard whose verifier gives no sign for so long is checked by another one; each check gives
    #: signs while it runs
    claim_visibility: timedelta = timedelta(minutes=2)
    orphan_age: timedelta = timedelta(days=7)  #: unfinished uploads are kept so long
    max_event_streams: int = 500  #: of this process
    max_event_streams_each: int = 8  #: that one address, or one account, may have open with it
    event_ping: timedelta = timedelta(seconds=15)
    head_seconds: float = 10.0  #: a request's head must be there within
    body_seconds: float = 60.0  #: a request's body may not be silent for longer
    read_seconds: float = 120.0  #: who does not read an answer for so long is cut off
    max_connections: int = 512  #: that one address may have open with this process

    rates: Rates = DEFAULT  #: how often one token and one address may call
    trusted_proxies: tuple[str, ...] = ()  #: networks whose `X-Forwarded-For` is believed
    public_url: str = ""  #: by which people reach this tracker; by default as they did

    @property
    def heartbeat(self) -> timedelta:
        """How often a worker should beat: a lease outlives four lost heartbeats."""
        return self.lease_duration / 5

    @property
    def reserve_bytes(self) -> int:
        """Under this, uploads are refused too: Redis must still be able to write."""
        return self.min_free_bytes // 8
