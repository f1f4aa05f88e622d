"""From what the scripts answer to records and errors; the only place that knows their columns."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import ValidationError

from laion_protocol import (
    CrawlState,
    DropReason,
    FailureClass,
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
    Attempt,
    Chunk,
    Crawl,
    Credit,
    Fetched,
    Finished,
    FoundJob,
    HeldLease,
    JobView,
    QueueStats,
    Replica,
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
        stage=_stage(attempt),
        fetched=_to_fetched(fetched, job),
    )


def to_submission(row: Reply, crawl: str) -> Submission:
    """A submission row of `lua/_rows.lua`.

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
        stage=_stage(attempt),
        fetched=_to_fetched(fetched, job),
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


def to_job_view(reply: Reply, job: JobRef, chunk: Chunk, turn: int) -> JobView:
    """The answer of `job`. `turn` is the job's position in the order of the crawl."""
    _, cursor, pairs, finished, lease, not_before = reply
    fields = to_dict(pairs)
    state = JobState.ACCEPTED if finished else JobState(fields.get("state", JobState.PENDING))
    numbers = sorted(int(field[2:]) for field in fields if field.startswith("a:"))
    attempts = tuple(_to_attempt(number, fields[f"a:{number}"]) for number in numbers)
    return JobView(
        job=job,
        chunk=chunk,
        state=state,
        attempts=attempts,
        lease=to_lease(lease, job.crawl) if lease else None,
        not_before=to_time(not_before) if not_before else None,
        ahead=None if fields or finished else turn - cursor,
        finished=_to_finished(finished) if finished else None,
        fetched=_to_fetched(fields.get("fetched", ""), job),
        replicas=tuple(
            _to_replica(attempt, fields[f"r:{attempt.number}"])
            for attempt in attempts
            if f"r:{attempt.number}" in fields
        ),
    )


def to_found(row: Reply, crawl: str) -> FoundJob:
    """A row of `look`."""
    index, state, since, number, attempt, ended, beat, deadline, progress = row
    last = json.loads(ended) if ended else None
    is_leased = state == JobState.LEASED
    return FoundJob(
        job=JobRef(crawl, index),
        state=JobState(state),
        since=to_time(since),
        attempt=_to_attempt(number, attempt),
        ended=_to_attempt(last["number"], ended) if last else None,
        beat_at=to_time(beat) if beat else None,
        deadline=to_time(deadline) if deadline else None,
        progress=(
            (Progress.model_validate_json(progress) if progress else Progress())
            if is_leased
            else None
        ),
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


def _to_attempt(number: int, text: str) -> Attempt:
    fields = json.loads(text)
    return Attempt(
        number=number,
        account=fields["account"],
        worker=fields["worker"],
        leased_at=to_time(fields["leased_at"]),
        ended_at=to_time(fields["ended_at"]) if "ended_at" in fields else None,
        outcome=Outcome(fields["outcome"]) if "outcome" in fields else None,
        failure_class=FailureClass(fields["class"]) if "class" in fields else None,
        message=fields.get("message", ""),
        stage=_stage(fields),
    )


def _stage(attempt: dict[str, Any]) -> Stage:
    return Stage(attempt.get("stage", Stage.HYBRID))


def _to_fetched(text: str, job: JobRef) -> Fetched | None:
    if not text:
        return None
    fields = json.loads(text)
    return Fetched(
        lease_id=str(LeaseRef(job, fields["lease"])),
        account=fields["account"],
        worker=fields["worker"],
        manifest=Manifest.model_validate_json(fields["manifest"]),
    )


def _to_replica(attempt: Attempt, text: str) -> Replica:
    fields = json.loads(text)
    return Replica(
        number=attempt.number,
        account=attempt.account,
        worker=attempt.worker,
        pairs_sha256=fields["pairs_sha256"],
        pairs=fields["pairs"],
        kept=fields["kept"],
        handed_in_at=to_time(fields["at"]),
    )


def _to_finished(record: str) -> Finished:
    _, account, worker, attempt, late, kept, pairs, size, accepted_at, *rest = record.split(" ")
    return Finished(
        account=account,
        worker=worker,
        attempt=int(attempt),
        outcome=Outcome.LATE_OK if late == "1" else Outcome.OK,
        kept=int(kept),
        pairs=int(pairs),
        bytes=int(size),
        accepted_at=to_time(accepted_at),
        fetcher=rest[0] if rest else None,
    )
