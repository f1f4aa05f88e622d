"""`tracker worker list | show | drain | ban | pardon`."""

import os
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import click

from laion_protocol import WorkerState
from laion_protocol.messages import WorkerRow

from .duration import DURATION
from .output import Answer, ago, moment, prints, table
from .session import Failed, to_tracker
from .treatment import add_verbs
from .words import NAME


@click.group()
def worker() -> None:
    """The machines that take part."""


add_verbs(worker, one_worker=True)


@worker.command("list")
@click.option("--account", type=NAME, help="Only of this account.")
@click.option("--state", type=click.Choice([state.value for state in WorkerState]))
@click.option("--seen-within", type=DURATION, help="Asked for work or beat so recently: 5m, 1d.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@prints
@to_tracker
def list_workers(
    account: str | None, state: str | None, seen_within: timedelta | None, limit: int,
    call: Callable[..., Any],
) -> Answer:  # fmt: skip
    """Every worker that was ever seen, by account."""
    wanted = WorkerState(state) if state else None
    fleet = call(
        lambda client: client.fleet(
            account=account, state=wanted, seen_within=seen_within, limit=limit
        )
    )
    lines = worker_table(fleet.rows) or ["no worker fits"]
    if len(fleet.rows) == limit:
        lines.append(f"only the first {limit}: --limit, --account, --seen-within")
    return Answer(fleet, lines)


@worker.command()
@click.argument("account", type=NAME)
@click.argument("worker", type=NAME)
@prints
@to_tracker
def show(account: str, worker: str, call: Callable[..., Any]) -> Answer:
    """One worker."""
    fleet = call(lambda client: client.fleet(account=account, limit=10_000))
    for row in fleet.rows:
        if row.name == worker:
            return Answer(row, _lines(row))
    raise Failed(f"the account {account!r} has no worker {worker!r}", os.EX_DATAERR)


def worker_table(rows: Iterable[WorkerRow]) -> list[str]:
    """A line for each."""
    header = ("WORKER", "STATE", "SEEN", "VERSION", "STAGES", "WHY")
    return table(
        header,
        [
            (
                f"{row.account}/{row.name}", row.state, ago(row.last_seen), row.version or "-",
                ",".join(row.stages) or "-", row.reason,
            )
            for row in rows
        ],
    )  # fmt: skip


def _lines(row: WorkerRow) -> Iterable[str]:
    yield from worker_table([row])
    yield f"first seen {moment(row.first_seen)}, last {moment(row.last_seen)} UTC"
    if row.state is not WorkerState.ACTIVE and row.since is not None:
        end = "" if row.until is None else f", until {moment(row.until)} UTC"
        yield f"{row.state} by {row.by} since {moment(row.since)} UTC{end}"
