"""`tracker jobs find | stale | dead | show`: looking at jobs. `job_actions.py` changes them."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import click

from laion_protocol.messages import FindJobs, FoundJob, JobDetail, OpenJob

from .duration import DURATION
from .job_actions import actions, reassign, requeue, undo
from .job_filter import filter_options, silent_for, to_filter
from .output import Answer, ago, clean, lasting, moment, prints, table
from .session import to_tracker
from .words import JOB, NAME

limit_option = click.option(
    "--limit", type=click.IntRange(1, 1000), default=25, show_default=True, help="How many to list."
)


@click.group()
def jobs() -> None:
    """Look after jobs that hang, fail or are dead."""


for command in (reassign, requeue, undo, actions):
    jobs.add_command(command)


@jobs.command()
@click.option("--state", type=click.Choice(["leased", "verifying", "pending", "dead"]),
              default="leased", show_default=True,
              help="pending: those that were leased before.")  # fmt: skip
@filter_options
@silent_for
@limit_option
@prints
@to_tracker
def find(
    state: str, conditions: dict[str, Any], limit: int,
    call: Callable[..., Any],
) -> Answer:  # fmt: skip
    """Jobs that fit, longest silent or longest in their state first."""
    return _find(state, conditions, limit, call)


@jobs.command()
@filter_options
@limit_option
@prints
@to_tracker
def dead(conditions: dict[str, Any], limit: int, call: Callable[..., Any]) -> Answer:
    """Jobs that used up their attempts, and why."""
    return _find("dead", conditions, limit, call)


@jobs.command()
@click.option("--crawl", type=NAME, help="Only of this crawl.")
@click.option("--silent-for", type=DURATION, help="90, 30m, 2h; two heartbeats if unset.")
@limit_option
@prints
@to_tracker
def stale(
    crawl: str | None, silent_for: timedelta | None, limit: int, call: Callable[..., Any]
) -> Answer:
    """Leased jobs without a heartbeat, silent longest first."""
    found = call(lambda client: client.stale_jobs(crawl=crawl, silent_for=silent_for, limit=limit))
    return Answer(found, [*_stale(found.jobs), f"{found.total} stale in all"])


@jobs.command()
@click.argument("job", metavar="JOB", type=JOB)
@prints
@to_tracker
def show(job: str, call: Callable[..., Any]) -> Answer:
    """All that is known of one job, <crawl>/<number>, with every attempt."""
    shown = call(lambda client: client.job(job))
    return Answer(shown, _detail(shown))


def _find(state: str, conditions: dict[str, Any], limit: int, call: Callable[..., Any]) -> Answer:
    request = FindJobs(filter=to_filter(state, conditions), limit=limit)
    found = call(lambda client: client.search_jobs(request))
    return Answer(found, [*job_table(found.jobs), f"{found.total} in all"])


def _stale(jobs: Iterable[OpenJob]) -> list[str]:
    return table(
        ("JOB", "SILENT", "WORKER", "TRY"),
        [
            (job.job, ago(job.last_heartbeat), f"{job.account}/{job.worker}", job.attempt)
            for job in jobs
        ],
    )


def job_table(jobs: Iterable[FoundJob]) -> list[str]:
    """Jobs of any state, a line each."""
    header = ("JOB", "STATE", "FOR", "SILENT", "WORKER", "TRY", "LAST ENDED", "MESSAGE")
    return table(header, [_row(job) for job in jobs])


def _row(job: FoundJob) -> tuple[object, ...]:
    ended = job.outcome or "-"
    if job.failure_class is not None:
        ended = f"{ended} ({job.failure_class})"
    silent = "-" if job.last_heartbeat is None else ago(job.last_heartbeat)
    worker = f"{job.account}/{job.worker}"
    return job.job, job.state, ago(job.since), silent, worker, job.attempt, ended, job.message


def _detail(job: JobDetail) -> Iterable[str]:
    yield f"{job.job}  {job.state}"
    yield f"reads {clean(job.source)}, part {job.part + 1} of {job.parts}"
    if job.ahead is not None:
        yield f"never leased; jobs that come before it: {job.ahead}"
    if job.not_before is not None:
        yield f"may be leased from {moment(job.not_before)}"
    if job.last_heartbeat is not None and job.deadline is not None:
        yield f"last heartbeat {ago(job.last_heartbeat)} ago, deadline {moment(job.deadline)}"
    if job.fetched_by is not None:
        yield f"fetched by {job.fetched_by}"
    if job.finished is not None:
        done = job.finished
        yield (
            f"accepted {moment(done.accepted_at)} from {done.account}/{done.worker}: "
            f"kept {done.kept} of {done.pairs} pairs, {done.bytes} bytes"
        )
    header = ("TRY", "WORKER", "STAGE", "LEASED", "LASTED", "OUTCOME", "MESSAGE")
    yield from table(
        header,
        [
            (
                attempt.number, f"{attempt.account}/{attempt.worker}", attempt.stage,
                moment(attempt.leased_at),
                "-" if attempt.ended_at is None else lasting(attempt.ended_at - attempt.leased_at),
                attempt.outcome or "-", attempt.message,
            )
            for attempt in job.attempts
        ],
    )  # fmt: skip
    for replica in job.replicas:
        yield (
            f"replica of {replica.account}/{replica.worker} (try {replica.attempt}), "
            f"{moment(replica.handed_in_at)}: kept {replica.kept} of {replica.pairs} pairs, "
            f"digest {replica.pairs_sha256[:12]}"
        )
