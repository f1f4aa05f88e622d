"""`tracker crawl list | pause | resume | drain | finish | remove`; `crawl_add.py` adds one."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import click

from laion_protocol import CrawlState
from laion_protocol.messages import CrawlStateAnswer, CrawlStats

from .crawl_add import add
from .output import Answer, confirm, lasting, prints, table
from .session import to_tracker
from .words import NAME


@click.group()
def crawl() -> None:
    """Add crawls and steer them."""


crawl.add_command(add)


@crawl.command("list")
@prints
@to_tracker
def list_crawls(call: Callable[..., Any]) -> Answer:
    """Every crawl, its state and its counts."""
    crawls = call(lambda client: client.crawls())
    header = (
        "CRAWL", "STATE", "ACCEPTED", "LEASED", "STALE", "VERIFYING", "PENDING", "DEAD", "LEFT",
    )  # fmt: skip
    rows = []
    for row in crawls:
        jobs = row.jobs
        left = _left(row)
        pending = f"{jobs.pending} ({row.scoring} to score)" if row.scoring else jobs.pending
        rows.append(
            (row.name, row.state, f"{jobs.accepted}/{jobs.total}", jobs.leased, row.stale,
             jobs.verifying, pending, jobs.dead, left)
        )  # fmt: skip
    return Answer(crawls, table(header, rows) or ["no crawl yet; `crawl add` adds one"])


@crawl.command()
@click.argument("name", type=NAME)
@prints
@to_tracker
def pause(name: str, call: Callable[..., Any]) -> Answer:
    """Hand out no more of its jobs; what is leased may be finished."""
    call(lambda client: client.pause_crawl(name))
    return _now(CrawlStateAnswer(name=name, state=CrawlState.PAUSED))


@crawl.command()
@click.argument("name", type=NAME)
@prints
@to_tracker
def resume(name: str, call: Callable[..., Any]) -> Answer:
    """Hand out its jobs again, also of one that is finished."""
    call(lambda client: client.resume_crawl(name))
    return _now(CrawlStateAnswer(name=name, state=CrawlState.ACTIVE))


@crawl.command()
@click.argument("name", type=NAME)
@prints
@to_tracker
def drain(name: str, call: Callable[..., Any]) -> Answer:
    """As pause; it is finished by itself when nothing is leased or being verified."""
    return _now(call(lambda client: client.drain_crawl(name)))


@crawl.command()
@click.argument("name", type=NAME)
@click.option("--yes", is_flag=True, help="Do not ask.")
@prints
@to_tracker
def finish(name: str, yes: bool, call: Callable[..., Any]) -> Answer:
    """Close it now: what is leased is lost to its worker at the next heartbeat."""
    if not yes:
        confirm(f"Close {name} now? `drain` lets workers finish.")
    return _now(call(lambda client: client.finish_crawl(name)))


@crawl.command()
@click.argument("name", type=NAME)
@click.option("--yes", is_flag=True, help="Do not ask.")
@prints
@to_tracker
def remove(name: str, yes: bool, call: Callable[..., Any]) -> Answer:
    """Remove a crawl for which no result was accepted yet; its name is free again."""
    if not yes:
        confirm(f"Remove {name} and all its jobs?")
    call(lambda client: client.remove_crawl(name))
    return Answer((), [f"{name} is removed"])


def _left(crawl: CrawlStats) -> str:
    if not crawl.eta_seconds:
        return "-"  # nothing is left, or nobody knows
    return lasting(timedelta(seconds=crawl.eta_seconds))


def _now(answer: CrawlStateAnswer) -> Answer:
    return Answer(answer, [f"{answer.name} is {answer.state}"])
