"""The job queue: Python asks, Lua decides."""

from .failures import Failure, Failures
from .ids import JobRef, LeaseRef
from .job_queue import JobQueue
from .records import (
    Attempt,
    Chunk,
    Crawl,
    Credit,
    Extended,
    Fetched,
    Finished,
    FoundJob,
    HeldLease,
    JobView,
    QueueStats,
    Replica,
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
    "Failure",
    "Failures",
    "Fetched",
    "Finished",
    "FoundJob",
    "HeldLease",
    "JobQueue",
    "JobRef",
    "JobView",
    "LeaseRef",
    "QueueStats",
    "Replica",
    "RetryPolicy",
    "StaleLeases",
    "Submission",
    "Verdict",
]
