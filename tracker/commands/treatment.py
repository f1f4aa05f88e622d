"""`drain`, `ban` and `pardon`, for one worker or for a whole account."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import click
from pydantic import ValidationError

from laion_protocol.client import TrackerClient
from laion_protocol.messages import Treat, Treated
from laion_protocol.wording import problem

from .duration import MOMENT
from .output import Answer, moment, prints
from .session import to_tracker
from .words import NAME, REASON

_HELP: Final = {
    "drain": "Give it no more jobs; what it holds it may finish.",
    "ban": "Take nothing of it any more, and its jobs from it.",
    "pardon": "Treat it as any other again, also if it waits because its jobs failed.",
}
_SAID: Final = {"drain": "draining", "ban": "banned", "pardon": "active"}
_CALLS: Final = {
    "drain": TrackerClient.drain,
    "ban": TrackerClient.ban,
    "pardon": TrackerClient.pardon,
}


def add_verbs(group: click.Group, *, one_worker: bool) -> None:
    """Give `group` the three commands."""
    for verb in _HELP:
        group.add_command(_command(verb, one_worker))


def _command(verb: str, one_worker: bool) -> click.Command:
    @prints
    @to_tracker
    def command(
        account: str, reason: str, dry_run: bool, call: Callable[..., Any],
        worker: str | None = None, until: datetime | None = None,
    ) -> Answer:  # fmt: skip
        try:
            treat = Treat(reason=reason, until=until, dry_run=dry_run)
        except ValidationError as error:
            raise click.UsageError(problem(error)) from error
        done = call(lambda client: _CALLS[verb](client, account, worker, treat))
        return Answer(done, [_line(verb, done, until)])

    command = click.option(
        "--reason", required=True, type=REASON, help="For its owner and the audit log."
    )(command)
    command = click.option("--dry-run", is_flag=True, help="Change nothing, tell.")(command)
    if verb != "pardon":
        command = click.option("--until", type=MOMENT, help="2h, 3d or a time; for ever if unset.")(
            command
        )
    if one_worker:
        command = click.argument("worker", type=NAME)(command)
    return click.command(verb, help=_HELP[verb])(click.argument("account", type=NAME)(command))


def _line(verb: str, done: Treated, until: datetime | None) -> str:
    who = done.account if done.worker is None else f"{done.account}/{done.worker}"
    how = f"{'would be' if done.dry_run else 'is'} {_SAID[verb]}"
    end = f" until {moment(until)} UTC" if until else ""
    leases = "1 lease was" if done.cancelled == 1 else f"{done.cancelled} leases were"
    taken = f"; {leases} taken from it" if done.cancelled else ""
    return f"{who} {how}{end}, was {done.before}{taken}"
