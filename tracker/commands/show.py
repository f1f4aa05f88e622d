"""`tracker stats` and `tracker audit`."""

from collections.abc import Callable
from typing import Any

import click

from .session import to_tracker


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The API's answer as it is.")
@to_tracker
def stats(as_json: bool, call: Callable[..., Any]) -> None:
    """Progress of every crawl."""
    found = call(lambda client: client.stats())
    if as_json:
        click.echo(found.model_dump_json(indent=2))
        return
    click.echo(f"{found.workers_active} workers active, {found.accounts} accounts")
    for crawl in found.crawls:
        share = crawl.jobs.accepted / crawl.jobs.total
        click.echo(
            f"{crawl.name}  {crawl.state}  {share:.1%}  {crawl.jobs.accepted}/{crawl.jobs.total} "
            f"jobs  kept {crawl.kept} of {crawl.pairs} pairs  stale {crawl.stale}  "
            f"dead {crawl.jobs.dead}"
        )


@click.command()
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@to_tracker
def audit(limit: int, call: Callable[..., Any]) -> None:
    """Who changed what, and what was refused; newest first."""
    for row in call(lambda client: client.audit(limit)).rows:
        via = f" via {row.via}" if row.via else ""
        reason = f" ({row.reason})" if row.reason else ""
        click.echo(
            f"{row.time:%Y-%m-%d %H:%M:%S}  {row.actor}{via}  {row.action} {row.target}  "
            f"{row.result}{reason}"
        )
