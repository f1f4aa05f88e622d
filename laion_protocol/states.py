"""The words for where a job stands, how an attempt ended, and why somebody must wait."""

from enum import StrEnum


class JobState(StrEnum):
    """Where a job stands; `tracker/queue/lua/` holds the only code that moves it."""

    PENDING = "pending"  #: waiting for a worker
    LEASED = "leased"  #: one worker holds it until the lease deadline
    VERIFYING = "verifying"  #: its shard was uploaded, the tracker is checking it
    ACCEPTED = "accepted"  #: its shard is part of the dataset (final)
    DEAD = "dead"  #: out of attempts; an admin must look


class Outcome(StrEnum):
    """How one attempt, that is one lease of a job, ended."""

    OK = "ok"  #: its shard was accepted
    LATE_OK = (
        "late_ok"  #: its shard came after the deadline, the job was still open, and it was accepted
    )
    EXPIRED = "expired"  #: no heartbeat until the deadline
    RELEASED = "released"  #: the worker handed the job back
    FAILED = "failed"  #: the worker reported that it could not do the job
    INVALID = "invalid"  #: its shard was uploaded and rejected
    SUPERSEDED = "superseded"  #: an admin took the job away


class FailureClass(StrEnum):
    """Who is to blame for a failed attempt; only the guilty party pays."""

    JOB = "job"  #: this source file or chunk; another worker would fail too
    WORKER = "worker"  #: this machine: disk full, out of memory, a broken install
    NETWORK = "network"  #: the line between the worker and the source
    SERVER = "server"  #: the tracker or its store


class SourceKind(StrEnum):
    """Which files of Common Crawl a crawl reads."""

    WARC = "warc"  #: the pages themselves: srcset, lazy attributes, captions (the deep mode)
    WAT = "wat"  #: the extracted links as JSON: a seventh of the CPU (the cheap mode)


class CrawlState(StrEnum):
    """Whether a crawl hands out jobs."""

    ACTIVE = "active"
    PAUSED = "paused"


class IdleReason(StrEnum):
    """Why a lease request got no job. The same word in the API, the CLI and Discord."""

    NO_WORK = "no_work"  #: every job is leased, being verified or done
    LEASE_LIMIT = "lease_limit"  #: this worker holds as many leases as one may
    PAUSED = "paused"  #: an admin paused the crawl or the project
    STORAGE_FULL = "storage_full"  #: the tracker has no room for another shard
    VERIFICATION_BACKLOG = "verification_backlog"  #: shards come in faster than they are checked


class Role(StrEnum):
    """What an account may do."""

    VOLUNTEER = "volunteer"  #: run workers
    ADMIN = "admin"  #: all of `/v1/admin`
    BOT = "bot"  #: ask for delegated tokens for people whom the tracker knows as admins
