"""The job queue: Python asks, Lua decides."""

from .ids import JobRef, LeaseRef
from .job_queue import JobQueue
from .records import (
    Attempt,
    Chunk,
    Crawl,
    Credit,
    Extended,
    Finished,
    HeldLease,
    JobView,
    QueueStats,
    RetryPolicy,
    StaleLeases,
    Submission,
    Verdict,
)

__all__ = [
    "Attempt",
    "Chunk",
    "Crawl",
    "Credit",
    "Extended",
    "Finished",
    "HeldLease",
    "JobQueue",
    "JobRef",
    "JobView",
    "LeaseRef",
    "QueueStats",
    "RetryPolicy",
    "StaleLeases",
    "Submission",
    "Verdict",
]
