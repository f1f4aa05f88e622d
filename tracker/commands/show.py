"""`tracker stats` and `tracker audit`."""

from collections.abc import Callable, Iterable
from typing import Any

import click

from laion_protocol.messages import AuditRow, CrawlStats, Stats

from .output import Answer, clean, moment, prints
from .session import to_tracker


@click.command()
@prints
@to_tracker
def stats(call: Callable[..., Any]) -> Answer:
    """Progress of every crawl."""
    found = call(lambda client: client.stats())
    return Answer(found, _stats(found))


@click.command()
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--actor", help="Only of this account, or through this bot.")
@click.option("--action", help="Only this, as jobs_requeue.")
@click.option("--target", help="Only with this in the target.")
@click.option("--before", help="Older than the row with this id.")
@prints
@to_tracker
def audit(limit: int, call: Callable[..., Any], **conditions: str | None) -> Answer:
    """Who changed what, and what was refused; newest first."""
    log = call(lambda client: client.audit(limit, **conditions))
    lines = [*map(_row, log.rows)] or ["no row fits"]
    if len(log.rows) == limit:
        lines.append(f"older ones: --before {log.rows[-1].id}")
    return Answer(log, lines)


def _stats(stats: Stats) -> Iterable[str]:
    yield f"{stats.workers_active} workers active, {stats.accounts} accounts"
    yield from map(_crawl, stats.crawls)


def _crawl(crawl: CrawlStats) -> str:
    share = crawl.jobs.accepted / crawl.jobs.total
    return (
        f"{crawl.name}  {crawl.state}  {share:.1%}  {crawl.jobs.accepted}/{crawl.jobs.total} "
        f"jobs  kept {crawl.kept} of {crawl.pairs} pairs  stale {crawl.stale}  "
        f"dead {crawl.jobs.dead}"
    )


def _row(row: AuditRow) -> str:
    via = f" via {row.via}" if row.via else ""
    reason = f" ({clean(row.reason)})" if row.reason else ""
    change = f"  {_value(row.before)} -> {_value(row.after)}" if row.before is not None else ""
    return (
        f"{moment(row.time)}  {row.actor}{via}  {row.action} {clean(row.target)}  "
        f"{row.result}{reason}{clean(change)}"
    )


def _value(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_value(part)}" for key, part in value.items() if part is not None)
    return str(value)
