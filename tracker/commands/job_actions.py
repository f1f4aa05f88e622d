"""`tracker jobs reassign | requeue | undo | actions`: taking many jobs back, and undoing that.

By name, or by conditions. With conditions, the tracker first tells which jobs they mean; what is
taken back is what it told, less what has changed until somebody said yes.
"""

import os
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import click
from pydantic import ValidationError

from laion_protocol.messages import (
    FindJobs,
    FoundJobs,
    JobFilter,
    Requeue,
    RequeueSelection,
    SelectionRequeued,
    Undo,
)
from laion_protocol.wording import problem

from .job_filter import filter_options, silent_for, to_filter
from .output import Answer, ago, clean, confirm, moment, prints, table
from .session import Failed, to_tracker
from .words import ACTION, JOB, REASON

Call = Callable[..., Any]

_SAMPLE: Final = 10
_AT_ONCE: Final = 1000

_DRY: Final = "nothing was changed: a dry run"
#: What became of a job that was left as it is.
_LEFT: Final = {
    "taken": "left: another worker has it, or had it since",
    "handed_in": "left: its shard was handed in",
    "changed": "left: it changed since",
    "unchanged": "left: it is neither leased nor dead",
    "alive": "left: its worker was heard of again",
    "unknown": "unknown",
}

_reason = click.option(
    "--reason", required=True, type=REASON, help="For the workers concerned and the audit log."
)
_dry_run = click.option("--dry-run", is_flag=True, help="Change nothing, tell what would happen.")
_yes = click.option("--yes", is_flag=True, help="Do not ask.")
_all = click.option("--all", "everything", is_flag=True, help="Really all of them.")
_names = click.argument("names", metavar="[JOB]...", nargs=-1, type=JOB)


@click.command()
@_names
@filter_options
@silent_for
@_all
@_reason
@_dry_run
@_yes
@prints
@to_tracker
def reassign(
    names: tuple[str, ...], conditions: dict[str, Any],
    everything: bool, reason: str, dry_run: bool, yes: bool, call: Call,
) -> Answer:  # fmt: skip
    """Take leased jobs from their workers, so that others get them: those named, or those that
    fit. Can be undone for a day, where nobody has got the job."""
    _check(names, conditions, everything)
    if names:
        return _by_name(names, reason, dry_run, call)
    return _by_filter(to_filter("leased", conditions), reason, dry_run, yes, call)


@click.command()
@_names
@filter_options
@_all
@_reason
@_dry_run
@_yes
@prints
@to_tracker
def requeue(
    names: tuple[str, ...], conditions: dict[str, Any], everything: bool, reason: str,
    dry_run: bool, yes: bool, call: Call,
) -> Answer:  # fmt: skip
    """Bring dead jobs back with fresh attempts: those that fit; or those named, dead or leased. A
    job is <crawl>/<number>. Can be undone for a day."""
    _check(names, conditions, everything)
    if names:
        return _by_name(names, reason, dry_run, call)
    return _by_filter(to_filter("dead", conditions), reason, dry_run, yes, call)


@click.command()
@click.argument("action", type=ACTION)
@_reason
@_dry_run
@prints
@to_tracker
def undo(action: str, reason: str, dry_run: bool, call: Call) -> Answer:
    """Put the jobs of an action back as they were, where nobody has touched them since: leased
    under the same lease, or dead."""
    try:
        request = Undo(reason=reason, dry_run=dry_run)
    except ValidationError as error:
        raise click.UsageError(problem(error)) from error
    done = call(lambda client: client.undo(action, request))
    lines = [f"{job}  {_said(verdict, dry_run)}" for job, verdict in done.jobs.items()]
    return Answer(done, [*lines, *_totals(done.verdicts, "undone", dry_run)])


@click.command()
@click.option("--limit", type=click.IntRange(1, 1000), default=25, show_default=True)
@prints
@to_tracker
def actions(limit: int, call: Call) -> Answer:
    """What was taken back within the last day, and can be undone."""
    found = call(lambda client: client.actions(limit))
    header = ("ACTION", "TIME", "BY", "DID", "JOBS", "UNDONE", "UNTIL", "REASON")
    rows = [
        (
            row.action, moment(row.time), f"{row.actor} via {row.via}" if row.via else row.actor,
            row.verb, row.jobs, row.undone, moment(row.expires), row.reason,
        )
        for row in found.rows
    ]  # fmt: skip
    return Answer(found, table(header, rows) or ["nothing within the last day"])


def _check(names: tuple[str, ...], conditions: dict[str, Any], everything: bool) -> None:
    if names and (conditions or everything):
        raise click.UsageError("name jobs, or say which by options; not both")
    if not names and not conditions and not everything:
        raise click.UsageError("say which jobs: by name, by options, or --all")


def _by_name(names: tuple[str, ...], reason: str, dry_run: bool, call: Call) -> Answer:
    try:
        request = Requeue(jobs=names, reason=reason, dry_run=dry_run)
    except ValidationError as error:
        raise click.UsageError(problem(error)) from error
    done = call(lambda client: client.requeue(request))
    lines = [f"{job}  {_said(verdict, dry_run)}" for job, verdict in done.jobs.items()]
    unknown = sum(verdict == "unknown" for verdict in done.jobs.values())
    failure = None
    if unknown:
        failure = Failed(f"{unknown} of {len(done.jobs)} jobs do not exist", os.EX_DATAERR)
    return Answer(done, [*lines, *([_DRY] if dry_run else []), *_hint(done.action)], failure)


def _by_filter(filter: JobFilter, reason: str, dry_run: bool, yes: bool, call: Call) -> Answer:
    found = call(lambda client: client.search_jobs(FindJobs(filter=filter, limit=_SAMPLE)))
    if dry_run or not found.total:
        return Answer(found, [*_preview(found), *([_DRY] if dry_run else [])])
    try:
        request = RequeueSelection(
            filter=filter, selection=found.selection, reason=reason, most=_AT_ONCE
        )
    except ValidationError as error:
        raise click.UsageError(problem(error)) from error
    if not yes:
        for line in _preview(found):
            click.echo(line, err=True)
        confirm(f"Take {found.total} jobs back?")
    done = call(lambda client: client.requeue_selection(request))
    while done.left:
        done = _joined(done, call(lambda client: client.requeue_selection(request)))
    said = _sum(done.verdicts) or "nothing to do"
    changed = f"; {done.gone} had changed meanwhile and were left alone" if done.gone else ""
    return Answer(done, [f"{said}{changed}", *_hint(done.action if done.verdicts else "")])


def _joined(first: SelectionRequeued, then: SelectionRequeued) -> SelectionRequeued:
    verdicts = Counter(first.verdicts) + Counter(then.verdicts)
    return then.model_copy(update={"verdicts": verdicts, "jobs": first.jobs | then.jobs})


def _preview(found: FoundJobs) -> list[str]:
    lines = table(
        ("JOB", "STATE", "FOR", "WORKER", "MESSAGE"),
        [
            (job.job, job.state, ago(job.since), f"{job.account}/{job.worker}", job.message)
            for job in found.jobs
        ],
    )
    more = found.total - len(found.jobs)
    return [*lines, *([f"and {more} more"] if more > 0 else []), f"{found.total} in all"]


def _sum(verdicts: dict[Any, int]) -> str:
    return ", ".join(f"{count} {clean(verdict)}" for verdict, count in verdicts.items())


def _said(verdict: str, dry_run: bool) -> str:
    return _LEFT.get(verdict) or f"{'would be ' * dry_run}{clean(verdict)}"


def _totals(verdicts: dict[Any, int], done: str, dry_run: bool) -> list[str]:
    """`3 would be undone, 1 left as it is`."""
    changed, left = verdicts.get(done, 0), sum(verdicts.values()) - verdicts.get(done, 0)
    lines = [f"{changed} {'would be ' * dry_run}{done}, {left} left as they are"]
    return [*lines, *([_DRY] if dry_run else [])]


def _hint(action: str) -> list[str]:
    return [f"to undo it within a day: jobs undo {action} --reason …"] if action else []
