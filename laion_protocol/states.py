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
    SUPERSEDED = "superseded"  #: an admin took the job away, or another result came first


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


class Stage(StrEnum):
    """What a lease is for. A worker says which stages it can do."""

    FETCH = "fetch"  #: extract, download, resize; hands in an intermediate (no GPU needed)
    SCORE = "score"  #: CLIP and safety over an intermediate that another worker fetched
    HYBRID = "hybrid"  #: both in one lease; nothing but the shard is uploaded


class CrawlState(StrEnum):
    """Whether a crawl hands out jobs."""

    ACTIVE = "active"
    PAUSED = "paused"  #: no new leases; what is leased goes on
    DRAINING = "draining"  #: as paused, and finished as soon as nothing is leased or verifying
    FINISHED = "finished"  #: closed: no leases, and open ones are lost at their next heartbeat


class IdleReason(StrEnum):
    """Why a lease request got no job. The same word in the API, the CLI and Discord."""

    NO_WORK = "no_work"  #: every job is leased, being verified or done
    PAUSED = "paused"  #: an admin paused the crawl or the project
    DRAINING = "draining"  #: an admin lets this worker, or the crawl, run dry
    MAINTENANCE = "maintenance"  #: the project rests, until a time that is told
    STORAGE_FULL = "storage_full"  #: the tracker has no room for another shard
    VERIFICATION_BACKLOG = "verification_backlog"  #: shards come in faster than they are checked
    QUOTA = "quota"  #: this worker, or its account, holds as many leases as one may
    COOLDOWN = "cooldown"  #: its last jobs, or its account's, all failed by their own fault
    OUTDATED = "outdated"  #: below the least worker version that the project takes
    BANNED = "banned"  #: an admin banned this worker or its account


class WorkerState(StrEnum):
    """Whether a worker, or a whole account, gets jobs."""

    ACTIVE = "active"
    DRAINING = "draining"  #: no new leases; what is leased may be finished
    BANNED = "banned"  #: nothing of it is taken; its leases are taken away


class Role(StrEnum):
    """What an account may do."""

    VOLUNTEER = "volunteer"  #: run workers
    MODERATOR = "moderator"  #: look after jobs and workers; `Scope` says what exactly
    ADMIN = "admin"  #: all of `/v1/admin`
    BOT = "bot"  #: ask for delegated tokens for people whom the tracker knows as admins


class Scope(StrEnum):
    """One kind of call that an account may make. A role is a set of these."""

    WORK = "work"  #: lease, beat, upload, complete
    JOBS = "jobs"  #: see stale jobs, requeue, undo
    WORKERS = "workers"  #: drain, ban and pardon workers and accounts
    PROJECT = "project"  #: pause, resume, maintenance, announcements
    CRAWLS = "crawls"  #: add, drain, finish crawls and give model files
    ACCOUNTS = "accounts"  #: add and revoke accounts and tokens, least worker version
    AUDIT = "audit"  #: read the audit log
    DELEGATE = "delegate"  #: ask for short-lived tokens in a person's name
