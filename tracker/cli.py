"""`python -m tracker`: serve, and the admin's API as commands."""

import logging
import math
import os
import sys
import textwrap
import traceback
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final
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
from .exit_status import MEANINGS
from .place import Address, CannotServe
from .settings import Settings

log = logging.getLogger(__name__)

#: Over these, somebody mistyped.
_MOST_LEASES: Final = 100_000
_MOST_BYTES: Final = 2**60
_MOST_PAIRS: Final = 10**11

_EXIT: Final = "\b\nExit status:\n" + "\n".join(
    textwrap.fill(text, 72, initial_indent=f"{status:>4}  ", subsequent_indent=" " * 6)
    for status, text in MEANINGS.items()
)


class _Commands(click.Group):
    """A group whose commands end with a sentence also for what nobody foresaw."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """As of the parent, which answers what click itself raises."""
        try:
            return super().main(*args, **extra)
        except Exception as error:
            *_, last = traceback.extract_tb(error.__traceback__)
            where = f"{Path(last.filename).name}:{last.lineno}"
            log.debug("at %s", where, exc_info=error)
            click.echo(
                f"Error: a fault of the tracker's own, please report it: {error!r} at {where}",
                err=True,
            )
            sys.exit(os.EX_SOFTWARE)


@click.group(cls=_Commands, epilog=_EXIT, context_settings={"help_option_names": ["-h", "--help"]})
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
@click.option("--max-store-bytes", type=click.IntRange(0, _MOST_BYTES), default=0,
              show_default=True,
              help="How much may lie in the store in all; 0 sets no bound.")  # fmt: skip
@click.option("--max-held", type=click.IntRange(1, _MOST_LEASES), default=8, show_default=True,
              help="Leases that one worker may hold in one crawl.")  # fmt: skip
@click.option("--max-held-account", type=click.IntRange(1, _MOST_LEASES),
              default=Settings.max_held_account, show_default=True,
              help="Leases that all workers of one account may hold in one crawl.")  # fmt: skip
@click.option("--idle-seconds", type=_Finite(0.05, 86_400), default=30.0, show_default=True,
              help="When a worker without work should ask again.")  # fmt: skip
@click.option("--min-free-bytes", type=click.IntRange(0, _MOST_BYTES),
              default=Settings.min_free_bytes, show_default=True,
              help="Under this, no jobs are handed out.")  # fmt: skip
@click.option("--max-backlog", type=click.IntRange(0, 1_000_000), default=1000, show_default=True,
              help="Over so many unchecked shards, no jobs are handed out.")  # fmt: skip
@click.option("--checkers", type=click.IntRange(0, 256), default=1, show_default=True,
              help="Shards that are checked at once.")  # fmt: skip
@click.option("--dedupe-pairs", type=click.IntRange(1000, _MOST_PAIRS),
              default=Settings.dedupe_pairs, show_default=True,
              help="Pairs that the dataset is expected to have; two bytes of disk each. More are "
                   "fine too.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True,
              help="Tracker processes on this port; one for each core is enough.")  # fmt: skip
@click.option("--rate-factor", type=_Finite(0, 1e6), default=1.0, show_default=True,
              help="How generous the limits of calls per token and address are; "
                   "0: no limits.")  # fmt: skip
@click.option("--trusted-proxy", "trusted_proxies", multiple=True, metavar="NETWORK",
              callback=_networks,
              help="A reverse proxy's network; its X-Forwarded-For tells who calls.")  # fmt: skip
@click.option("--max-connections", type=click.IntRange(1, 1_000_000),
              default=Settings.max_connections, show_default=True,
              help="Connections that one address may have open with one process; many workers "
                   "behind one router need more.")  # fmt: skip
@click.option("--public-url", default="", callback=_web_url,
              help="By which people reach this tracker, for the login page's address.")  # fmt: skip
def serve_command(
    rate_factor: float, trusted_proxies: tuple[str, ...], public_url: str,
    data: Path, host: str, port: int, redis_url: str, appendfsync: str, lease_seconds: float,
    max_held: int, max_held_account: int, idle_seconds: float, min_free_bytes: int,
    max_backlog: int, checkers: int, workers: int, store_url: str, s3_endpoint: str,
    max_store_bytes: int, dedupe_pairs: int, max_connections: int,
) -> None:  # fmt: skip
    """Serve workers, bot and admins until SIGTERM or Ctrl-C."""
    if s3_endpoint and not store_url:
        raise click.UsageError(
            "--s3-endpoint (or LAION_TRACKER_S3_ENDPOINT) is the service of a --store s3://BUCKET, "
            "and none is named: shards would lie in the data directory"
        )
    if max_held > max_held_account:
        raise click.UsageError(
            f"--max-held {max_held} is over --max-held-account {max_held_account}: an account's "
            "bound counts all its workers, so raise the second too"
        )
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
        max_backlog=max_backlog, checkers=checkers, max_connections=max_connections,
        reap_every=min(Settings.reap_every, lease / 4),
    )  # fmt: skip
    how = "always" if appendfsync == "always" else "everysec"
    try:
        at = Address(host=host, port=port)
        uvloop.run(serve(settings, at, appendfsync=how, workers=workers))  # type: ignore[arg-type]
    except CannotServe as error:
        raise Failed(str(error), error.status) from error
    except Exception as error:
        log.exception("the tracker ended by a fault of its own")
        raise Failed(
            "the tracker ended by a fault of its own; its log says which", os.EX_SOFTWARE
        ) from error


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
