"""From what the scripts answer to records and errors; nobody but this and `job_views` knows their
columns."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import ValidationError

from laion_protocol import (
    CrawlState,
    DropReason,
    IdleReason,
    InvalidRequest,
    LeaseLost,
    Manifest,
    NotFound,
    Outcome,
    Recipe,
    Stage,
)
from laion_protocol.messages import JobCounts, Progress, Receipt
from laion_protocol.states import JobState

from .ids import JobRef, LeaseRef
from .records import (
    Crawl,
    Credit,
    Fetched,
    HeldLease,
    QueueStats,
    Submission,
)

#: a script's answer, or a row in it: strings, integers, and rows
Reply = Sequence[Any]

#: why a lease does not hold its job (word of `lua/_standing.lua`) -> a sentence for its worker
_LOST: Final = {
    "leased": "another worker has the job now",
    "verifying": "another worker's result of the job is being verified",
    "accepted": "another worker's result of the job was accepted",
    "fetched": "another worker's intermediate of the job was accepted",
    "handed_in": "its result was handed in already",
    "expired": "no heartbeat came before its deadline",
    "overlong": "it has lasted as long as a lease may",
    "released": "it was handed back",
    "failed": "it was reported as failed",
    "invalid": "its result was rejected",
    "replica": "another worker's result came first, its own is a replica",
    "superseded": "an admin took the job away",
    "finished": "an admin closed the crawl",
    "claimed": "another verifier checks its result by now",
    "unknown": "the tracker does not know it, or no longer",
}


def check(reply: Reply, ref: LeaseRef | JobRef | str) -> Reply:
    """The reply, if it is no refusal.

    Args:
        reply: of any script; its first element says what it is.
        ref: what the script was asked about: a lease, a job, or a crawl's name.

    Raises:
        NotFound: no such crawl, job, or lease of this account.
        LeaseLost: the lease does not hold its job.
        InvalidRequest: a result of another stage than the lease is for.
    """
    job = ref.job if isinstance(ref, LeaseRef) else ref
    match reply[0]:
        case "no_crawl":
            raise no_crawl(job.crawl if isinstance(job, JobRef) else job)
        case "no_job":
            raise NotFound(f"there is no job {job}")
        case "not_yours":
            raise NotFound(f"this account has no such lease of job {job}")
        case "lost":
            why = ": ".join([_LOST[reply[1]], *filter(None, reply[2:])])
            raise LeaseLost(f"this lease does not hold job {job}: {why}; drop the job")
        case "wrong_stage":
            raise InvalidRequest(f"stage: the lease is for {reply[1]}; send a manifest of that")
    return reply


def no_crawl(name: str) -> NotFound:
    """The error for a crawl that does not exist."""
    return NotFound(f"there is no crawl {name!r}")


def to_receipt(reply: Reply, job: JobRef) -> Receipt:
    """`{'receipt', state, outcome or '', message}`."""
    _, state, outcome, message = reply
    return Receipt(
        job=str(job),
        state=JobState(state),
        outcome=Outcome(outcome) if outcome else None,
        message=message,
    )


def to_crawl(name: str, meta: dict[str, str]) -> Crawl:
    """The hash `meta`."""
    return Crawl(
        name=name,
        state=CrawlState(meta["state"]),
        base=meta["base"],
        files=int(meta["files"]),
        parts=int(meta["parts"]),
        recipe=Recipe.model_validate_json(meta["recipe"]),
        recipe_sha256=meta["recipe_sha256"],
        seed=int(meta["seed"]),
        added_at=to_time(meta["added_at"]),
    )


def to_lease(row: Reply, crawl: str) -> HeldLease:
    """A lease row of `lua/_rows.lua`."""
    index, number, text, beat, deadline, progress, fetched = row
    attempt = json.loads(text)
    job = JobRef(crawl, index)
    return HeldLease(
        lease_id=lease_id(row, crawl),
        job=job,
        account=attempt["account"],
        worker=attempt["worker"],
        attempt=number,
        leased_at=to_time(attempt["leased_at"]),
        beat_at=to_time(beat),
        deadline=to_time(deadline),
        progress=Progress.model_validate_json(progress) if progress else Progress(),
        stage=to_stage(attempt),
        fetched=to_fetched(fetched, job),
    )


def to_submission(row: Reply, crawl: str, claim: str = "") -> Submission:
    """A submission row of `lua/_rows.lua`; `claim` is the id under which it was claimed.

    Raises:
        ValidationError: a manifest is none, or none of this version.
    """
    index, number, text, manifest, fetched = row
    attempt = json.loads(text)
    job = JobRef(crawl, index)
    return Submission(
        lease_id=lease_id(row, crawl),
        job=job,
        account=attempt["account"],
        worker=attempt["worker"],
        attempt=number,
        late=attempt.get("late", False),
        manifest=Manifest.model_validate_json(manifest),
        submitted_at=to_time(attempt["submitted_at"]),
        claim=claim,
        stage=to_stage(attempt),
        fetched=to_fetched(fetched, job),
    )


def unreadable(error: ValidationError) -> str:
    """What is wrong with a stored manifest, without its values."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "manifest"
    return f"the tracker cannot read this shard's manifest: {field}: {first['msg']}"


def lease_id(row: Reply, crawl: str) -> str:
    """Whose lease a row of `lua/_rows.lua` is about."""
    return str(LeaseRef(JobRef(crawl, row[0]), json.loads(row[2])["lease"]))


def to_stats(reply: Reply, name: str) -> QueueStats:
    """The answer of `stats`. What is in no other state is pending."""
    _, state, total, leased, verifying, accepted, dead, stale, last_hour, last_day, *rest = reply
    pairs, scoring = rest
    counts = {field: int(value) for field, value in to_dict(pairs).items()}
    return QueueStats(
        name=name,
        state=CrawlState(state),
        jobs=JobCounts(
            total=total,
            pending=total - leased - verifying - accepted - dead,
            leased=leased,
            verifying=verifying,
            accepted=accepted,
            dead=dead,
        ),
        attempts=counts.get("attempts", 0),
        pairs=counts.get("pairs", 0),
        kept=counts.get("kept", 0),
        bytes=counts.get("bytes", 0),
        drops={
            reason: counts[f"drop:{reason}"] for reason in DropReason if f"drop:{reason}" in counts
        },
        accepted_last_hour=last_hour,
        accepted_last_day=last_day,
        stale=stale,
        scoring=scoring,
        fetched=counts.get("fetched", 0),
    )


def to_credits(fields: dict[str, str]) -> dict[str, Credit]:
    """The hash `credits`."""
    accounts = dict.fromkeys(field.partition(":")[2] for field in fields)
    return {
        account: Credit(
            jobs=int(fields.get(f"jobs:{account}", 0)),
            kept=int(fields.get(f"kept:{account}", 0)),
            fetched=int(fields.get(f"fetched:{account}", 0)),
        )
        for account in accounts
    }


def to_idle(reply: Reply) -> IdleReason:
    """`{'idle', reason}`."""
    return IdleReason(reply[1])


def to_time(milliseconds: str | float) -> datetime:
    """Redis's clock, as an aware time."""
    return datetime.fromtimestamp(float(milliseconds) / 1000, UTC)


def to_dict(pairs: Sequence[str]) -> dict[str, str]:
    """`{ field, value, … }`."""
    return dict(zip(pairs[::2], pairs[1::2], strict=True))


def to_stage(attempt: dict[str, Any]) -> Stage:
    """Of an attempt."""
    return Stage(attempt.get("stage", Stage.HYBRID))


def to_fetched(text: str, job: JobRef) -> Fetched | None:
    """`fetched` of a job's hash; None for ''."""
    if not text:
        return None
    fields = json.loads(text)
    return Fetched(
        lease_id=str(LeaseRef(job, fields["lease"])),
        account=fields["account"],
        worker=fields["worker"],
        manifest=Manifest.model_validate_json(fields["manifest"]),
    )
