"""What the feed `GET /v1/events` carries. The script that makes it true publishes it."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, TypeAdapter

from .manifest import Count
from .message import Message
from .states import CrawlState, Outcome


class _Event(Message):
    crawl: str
    time: AwareDatetime


class CrawlAddedEvent(_Event):
    """A crawl was added."""

    type: Literal["crawl_added"] = "crawl_added"
    jobs: Count


class ShardAccepted(_Event):
    """A job is done. `accepted` and `total` are the crawl's, at that moment."""

    type: Literal["shard_accepted"] = "shard_accepted"
    job: str
    account: str
    worker: str
    kept: Count
    pairs: Count
    accepted: Count
    total: Count


class FetchAccepted(_Event):
    """A job's intermediate was accepted; the job waits for a worker that scores it."""

    type: Literal["fetch_accepted"] = "fetch_accepted"
    job: str
    account: str
    worker: str
    kept: Count
    pairs: Count


class AttemptLost(_Event):
    """An attempt ended without a shard, and its job waits again."""

    type: Literal["attempt_lost"] = "attempt_lost"
    job: str
    account: str
    worker: str
    attempt: int
    outcome: Outcome
    message: str = ""


class JobDied(_Event):
    """A job used up its attempts; an admin must look."""

    type: Literal["job_died"] = "job_died"
    job: str
    attempt: int
    message: str = ""


class CrawlFinished(_Event):
    """Every job of a crawl is accepted or dead."""

    type: Literal["crawl_finished"] = "crawl_finished"
    accepted: Count
    dead: Count


class CrawlStateChanged(_Event):
    """An admin paused, resumed, drained or closed a crawl, or a draining one has run dry."""

    type: Literal["crawl_state"] = "crawl_state"
    state: CrawlState


Event = (
    CrawlAddedEvent
    | ShardAccepted
    | FetchAccepted
    | AttemptLost
    | JobDied
    | CrawlFinished
    | CrawlStateChanged
)

EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="type")])
