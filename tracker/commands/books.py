"""`tracker books`."""

import json
import os
from pathlib import Path
from typing import Any

import click

from .backup import redis_option, with_redis
from .session import Failed, data_option


@click.command()
@click.option("--repair", is_flag=True, help="Put right what can be put right.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@data_option
@redis_option
def books(repair: bool, as_json: bool, data: Path, redis_url: str) -> None:
    """Compare the queue's records with each other, while the tracker goes on working.

    Each job must be in one place, the indexes must name the right jobs, and the counters must be
    what the accepted jobs add up to. The exit status is 0 if that is so, or was put right.
    """
    from tracker.books import Balance, Books

    async def work(redis: Any) -> Balance:
        return await Books(redis).sweep(repair=repair)

    balance = with_redis(data, redis_url, work)
    if as_json:
        found = {
            "jobs": balance.jobs,
            "found": dict(balance.found),
            "repaired": balance.repaired,
            "examples": balance.examples,
        }
        click.echo(json.dumps(found, indent=1))
    else:
        for kind, count in balance.found.most_common():
            click.echo(f"{count:>8}  {kind}")
        for example in balance.examples:
            click.echo(f"          {example}")
        click.echo(f"{balance.jobs} jobs looked at, {balance.differences} differences")
    left = balance.differences - balance.repaired
    if left:
        more = "these cannot be repaired" if repair else "--repair puts right what it can"
        raise Failed(f"{left} differences are left; {more}", os.EX_DATAERR)
