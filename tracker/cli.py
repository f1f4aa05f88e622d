"""`python -m tracker`: serve, and the admin's API as commands."""

import logging
import math
import os
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from .commands.account import account
from .commands.backup import backup, restore
from .commands.books import books
from .commands.crawl import crawl
from .commands.dedupe import dedupe
from .commands.jobs import jobs
from .commands.project import announce, project, withdraw
from .commands.session import Failed, data_option
from .commands.show import audit, stats
from .commands.worker import worker
from .place import Address, CannotServe
from .settings import Settings

_EXIT = f"""
Exit status: 0 done; 2 or {os.EX_USAGE} wrong usage; {os.EX_DATAERR} the tracker refuses the data;
{os.EX_NOINPUT} a file is missing; {os.EX_UNAVAILABLE} tracker or Redis cannot be reached, or the
port is taken; {os.EX_TEMPFAIL} too many calls, try later; {os.EX_SOFTWARE} a fault of the tracker;
{os.EX_CANTCREAT} the data directory cannot be used; {os.EX_PROTOCOL} the URL is no tracker's;
{os.EX_NOPERM} not permitted;
{os.EX_CONFIG} a broken file in the data directory, or one of another Redis.
"""


@click.group(epilog=_EXIT, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run a tracker, or steer one."""


class _Finite(click.FloatRange):
    """A number within these bounds; `nan` is within all of click's own."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """As of the parent."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is no number", param, ctx)
        return number


def _networks(
    _context: click.Context, _param: click.Parameter, networks: tuple[str, ...]
) -> tuple[str, ...]:
    for network in networks:
        try:
            ip_network(network)
        except ValueError as error:
            raise click.BadParameter(f"{network!r} is no network like 10.0.0.0/8") from error
    return networks


def _web_url(_context: click.Context, _param: click.Parameter, url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        good = False
    if url and not good:
        raise click.BadParameter(f"{url!r} is no URL like https://tracker.example")
    return url


@main.command("serve")
@data_option
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option(
    "--redis-url", default="", envvar="LAION_TRACKER_REDIS_URL", show_envvar=True,
    help="redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://; without one, the "
    "tracker runs a Redis of its own.",
)  # fmt: skip
@click.option(
    "--appendfsync", type=click.Choice(["everysec", "always"]), default="everysec",
    show_default=True, help="How often the tracker's own Redis syncs its file to disk.",
)  # fmt: skip
@click.option(
    "--lease-seconds", type=_Finite(0.5, 172_800), default=300.0, show_default=True,
    help="How long a lease outlives its last heartbeat; about five heartbeats.",
)  # fmt: skip
@click.option(
    "--store", "store_url", default="", envvar="LAION_TRACKER_STORE", show_envvar=True,
    help="s3://BUCKET[/PREFIX] for shards, with the key in AWS_ACCESS_KEY_ID and "
         "AWS_SECRET_ACCESS_KEY; without one, they lie in the data directory.",
)  # fmt: skip
@click.option(
    "--s3-endpoint", default="", envvar="LAION_TRACKER_S3_ENDPOINT", show_envvar=True,
    help="URL of an S3 service that is not Amazon's, as workers reach it.",
)  # fmt: skip
@click.option("--max-store-bytes", type=click.IntRange(0), default=0, show_default=True,
              help="How much may lie in the bucket in all; 0 sets no bound.")  # fmt: skip
@click.option("--max-held", type=click.IntRange(1), default=8, show_default=True,
              help="Leases that one worker may hold in one crawl.")  # fmt: skip
@click.option("--max-held-account", type=click.IntRange(1), default=Settings.max_held_account,
              show_default=True,
              help="Leases that all workers of one account may hold in one crawl.")  # fmt: skip
@click.option("--idle-seconds", type=_Finite(0.05, 86_400), default=30.0, show_default=True,
              help="When a worker without work should ask again.")  # fmt: skip
@click.option("--min-free-bytes", type=click.IntRange(0), default=Settings.min_free_bytes,
              help="Under this, no jobs are handed out.")  # fmt: skip
@click.option("--max-backlog", type=click.IntRange(0), default=1000, show_default=True,
              help="Over so many unchecked shards, no jobs are handed out.")  # fmt: skip
@click.option("--checkers", type=click.IntRange(0, 256), default=1, show_default=True,
              help="Shards that are checked at once.")  # fmt: skip
@click.option("--dedupe-pairs", type=click.IntRange(1000), default=Settings.dedupe_pairs,
              show_default=True, help="Pairs that the dataset is expected to have; two bytes of "
              "disk each. More are fine too.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True,
              help="Tracker processes on this port; one for each core is enough.")  # fmt: skip
@click.option("--rate-factor", type=_Finite(0, 1e6), default=1.0, show_default=True,
              help="How generous the limits of calls per token and address are; "
                   "0: no limits.")  # fmt: skip
@click.option("--trusted-proxy", "trusted_proxies", multiple=True, metavar="NETWORK",
              callback=_networks,
              help="A reverse proxy's network; its X-Forwarded-For tells who calls.")  # fmt: skip
@click.option("--public-url", default="", callback=_web_url,
              help="By which people reach this tracker, for the login page's address.")  # fmt: skip
def serve_command(
    rate_factor: float, trusted_proxies: tuple[str, ...], public_url: str,
    data: Path, host: str, port: int, redis_url: str, appendfsync: str, lease_seconds: float,
    max_held: int, max_held_account: int, idle_seconds: float, min_free_bytes: int,
    max_backlog: int, checkers: int, workers: int, store_url: str, s3_endpoint: str,
    max_store_bytes: int, dedupe_pairs: int,
) -> None:  # fmt: skip
    """Serve workers, bot and admins until SIGTERM or Ctrl-C."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    import uvloop  # the web server's libraries: the other commands start without

    from .serve import serve

    lease = timedelta(seconds=lease_seconds)
    settings = Settings(
        data=data.resolve(), redis_url=redis_url, lease_duration=lease, max_held=max_held,
        max_held_account=max_held_account, rates=Settings.rates.times(rate_factor),
        trusted_proxies=trusted_proxies, public_url=public_url, dedupe_pairs=dedupe_pairs,
        idle_retry=timedelta(seconds=idle_seconds), min_free_bytes=min_free_bytes,
        store_url=store_url, s3_endpoint=s3_endpoint, max_store_bytes=max_store_bytes,
        max_backlog=max_backlog, checkers=checkers, reap_every=min(Settings.reap_every, lease / 4),
    )  # fmt: skip
    how = "always" if appendfsync == "always" else "everysec"
    try:
        at = Address(host=host, port=port)
        uvloop.run(serve(settings, at, appendfsync=how, workers=workers))  # type: ignore[arg-type]
    except CannotServe as error:
        raise Failed(str(error), error.status) from error


for command in (
    crawl,
    dedupe,
    jobs,
    worker,
    account,
    project,
    announce,
    withdraw,
    stats,
    audit,
    backup,
    restore,
    books,
):
    main.add_command(command)
