"""`python -m tracker`: serve, and the admin's API as commands."""

import asyncio
import logging
import os
from datetime import timedelta
from pathlib import Path

import click

from .commands.account import account
from .commands.crawl import crawl
from .commands.jobs import jobs
from .commands.session import Failed, data_option
from .commands.show import audit, stats
from .place import Address, CannotServe
from .settings import Settings

_EXIT = f"""
Exit status: 0 done; 2 or {os.EX_USAGE} wrong usage; {os.EX_DATAERR} the tracker refuses the data;
{os.EX_NOINPUT} a file is missing; {os.EX_UNAVAILABLE} tracker or Redis cannot be reached, or the
port is taken; {os.EX_SOFTWARE} a fault of the tracker; {os.EX_CANTCREAT} the data directory cannot
be used; {os.EX_PROTOCOL} the URL is no tracker's; {os.EX_NOPERM} not permitted;
{os.EX_CONFIG} a broken file in the data directory, or one of another Redis.
"""


@click.group(epilog=_EXIT, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run a tracker, or steer one."""


@main.command("serve")
@data_option
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option(
    "--redis-url", default="", envvar="LAION_TRACKER_REDIS_URL", show_envvar=True,
    help="redis://, rediss:// or unix://; without one, the tracker runs a Redis of its own.",
)  # fmt: skip
@click.option(
    "--appendfsync", type=click.Choice(["everysec", "always"]), default="everysec",
    show_default=True, help="How often the tracker's own Redis syncs its file to disk.",
)  # fmt: skip
@click.option(
    "--lease-seconds", type=click.FloatRange(min=0.5), default=300.0, show_default=True,
    help="How long a lease outlives its last heartbeat; about five heartbeats.",
)  # fmt: skip
@click.option("--max-held", type=click.IntRange(1), default=8, show_default=True,
              help="Leases that one worker may hold in one crawl.")  # fmt: skip
@click.option("--idle-seconds", type=click.FloatRange(min=0.05), default=30.0, show_default=True,
              help="When a worker without work should ask again.")  # fmt: skip
@click.option("--min-free-bytes", type=click.IntRange(0), default=Settings.min_free_bytes,
              help="Under this, no jobs are handed out.")  # fmt: skip
@click.option("--max-backlog", type=click.IntRange(0), default=1000, show_default=True,
              help="Over so many unchecked shards, no jobs are handed out.")  # fmt: skip
@click.option("--checkers", type=click.IntRange(0), default=1, show_default=True,
              help="Shards that are checked at once.")  # fmt: skip
def serve_command(
    data: Path, host: str, port: int, redis_url: str, appendfsync: str, lease_seconds: float,
    max_held: int, idle_seconds: float, min_free_bytes: int, max_backlog: int, checkers: int,
) -> None:  # fmt: skip
    """Serve workers, bot and admins until SIGTERM or Ctrl-C."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    from .serve import serve  # the web server's libraries: the other commands start without

    lease = timedelta(seconds=lease_seconds)
    settings = Settings(
        data=data.resolve(), redis_url=redis_url, lease_duration=lease, max_held=max_held,
        idle_retry=timedelta(seconds=idle_seconds), min_free_bytes=min_free_bytes,
        max_backlog=max_backlog, checkers=checkers, reap_every=min(Settings.reap_every, lease / 4),
    )  # fmt: skip
    how = "always" if appendfsync == "always" else "everysec"
    try:
        asyncio.run(serve(settings, Address(host=host, port=port), appendfsync=how))  # type: ignore[arg-type]
    except CannotServe as error:
        raise Failed(str(error), error.status) from error


for command in (crawl, account, jobs, stats, audit):
    main.add_command(command)
