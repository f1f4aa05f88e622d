"""From what `job` and `look` answer to records: all about one job, and what a list shows of it."""

import json

from laion_protocol import FailureClass, Outcome
from laion_protocol.messages import Progress
from laion_protocol.states import JobState

from .ids import JobRef
from .records import Attempt, Chunk, Finished, FoundJob, JobView, Replica
from .replies import Reply, to_dict, to_fetched, to_lease, to_stage, to_time


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
        fetched=to_fetched(fields.get("fetched", ""), job),
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
        stage=to_stage(fields),
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
