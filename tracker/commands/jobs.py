"""`tracker jobs stale | requeue`."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from pydantic import ValidationError

from laion_protocol.messages import Requeue

from .session import Failed, to_tracker


@click.group()
def jobs() -> None:
    """Look after jobs that hang."""


@jobs.command()
@click.option("--crawl", help="Only of this crawl.")
@click.option(
    "--silent-for", type=click.FloatRange(min=0), help="Seconds; two heartbeats if unset."
)
@click.option("--limit", type=click.IntRange(1, 1000), default=25, show_default=True)
@to_tracker
def stale(
    crawl: str | None, silent_for: float | None, limit: int, call: Callable[..., Any]
) -> None:
    """Leased jobs without a heartbeat, silent longest first."""
    silence = None if silent_for is None else timedelta(seconds=silent_for)
    found = call(lambda client: client.stale_jobs(crawl=crawl, silent_for=silence, limit=limit))
    now = datetime.now(UTC)
    for job in found.jobs:
        silent = max(0, round((now - job.last_heartbeat).total_seconds()))
        click.echo(f"{job.job}  silent {silent} s  {job.account}/{job.worker}  try {job.attempt}")
    click.echo(f"{found.total} stale in all")


@jobs.command()
@click.argument("names", metavar="JOB...", nargs=-1, required=True)
@click.option("--reason", required=True, help="For the worker and the audit log.")
@click.option("--dry-run", is_flag=True, help="Change nothing, tell what would happen.")
@to_tracker
def requeue(names: tuple[str, ...], reason: str, dry_run: bool, call: Callable[..., Any]) -> None:
    """Take jobs from their workers, or from the dead letters. A job is <crawl>/<number>."""
    try:
        request = Requeue(jobs=names, reason=reason, dry_run=dry_run)
    except ValidationError as error:
        first = error.errors()[0]
        raise Failed(f"{first['loc'][0]}: {first['msg']}", os.EX_USAGE) from error
    answer = call(lambda client: client.requeue(request))
    for job, verdict in answer.jobs.items():
        click.echo(f"{job}  {'would be ' if answer.dry_run else ''}{verdict}")
