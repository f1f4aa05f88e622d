"""`detail`: one job as the API tells it."""

from laion_protocol.messages import AttemptRow, FinishedJob, JobDetail, ReplicaRow
from tracker.queue import Attempt, Finished, JobView, Replica


def detail(view: JobView) -> JobDetail:
    """All that the queue knows of a job."""
    lease, fetched = view.lease, view.fetched
    return JobDetail(
        job=str(view.job),
        path=view.chunk.path,
        source=view.chunk.source,
        part=view.chunk.part,
        parts=view.chunk.parts,
        state=view.state,
        attempts=tuple(_attempt(attempt) for attempt in view.attempts),
        last_heartbeat=lease.beat_at if lease else None,
        deadline=lease.deadline if lease else None,
        progress=lease.progress if lease else None,
        not_before=view.not_before,
        ahead=view.ahead,
        fetched_by=f"{fetched.account}/{fetched.worker}" if fetched else None,
        finished=_finished(view.finished) if view.finished else None,
        replicas=tuple(_replica(replica) for replica in view.replicas),
    )


def _attempt(attempt: Attempt) -> AttemptRow:
    return AttemptRow(
        number=attempt.number,
        account=attempt.account,
        worker=attempt.worker,
        stage=attempt.stage,
        leased_at=attempt.leased_at,
        ended_at=attempt.ended_at,
        outcome=attempt.outcome,
        failure_class=attempt.failure_class,
        message=attempt.message,
    )


def _finished(finished: Finished) -> FinishedJob:
    return FinishedJob(
        account=finished.account,
        worker=finished.worker,
        attempt=finished.attempt,
        outcome=finished.outcome,
        kept=finished.kept,
        pairs=finished.pairs,
        bytes=finished.bytes,
        accepted_at=finished.accepted_at,
        fetcher=finished.fetcher,
    )


def _replica(replica: Replica) -> ReplicaRow:
    return ReplicaRow(
        attempt=replica.number,
        account=replica.account,
        worker=replica.worker,
        pairs_sha256=replica.pairs_sha256,
        pairs=replica.pairs,
        kept=replica.kept,
        handed_in_at=replica.handed_in_at,
    )
