"""The options that say which jobs are meant."""

import functools
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click
from pydantic import ValidationError

from laion_protocol import FailureClass, Outcome
from laion_protocol.messages import JobFilter
from laion_protocol.wording import problem

from .duration import DURATION
from .words import NAME

_F = TypeVar("_F", bound=Callable[..., Any])

_FIELDS: Final = tuple(field for field in JobFilter.model_fields if field != "state")


def filter_options(command: _F) -> _F:
    """One option for each condition; the command gets `conditions`, those that were given."""

    @click.option("--crawl", type=NAME, help="Only of this crawl.")
    @click.option("--account", type=NAME, help="Whose lease, or last lease, it is.")
    @click.option("--worker", type=NAME, help="The same, of one worker.")
    @click.option("--older-than", type=DURATION, help="So long in this state, at least: 30m, 2h.")
    @click.option("--outcome", type=click.Choice([outcome.value for outcome in Outcome]),
                  help="How the last attempt that ended did.")  # fmt: skip
    @click.option("--failure-class", type=click.Choice([kind.value for kind in FailureClass]),
                  help="Who was to blame for it.")  # fmt: skip
    @click.option("--message", help="Part of what it said, in any case.")
    @click.option("--path", help="Pattern of the file's path: * ? [].")
    @functools.wraps(command)
    def with_filter(*args: Any, **options: Any) -> Any:
        given = {name: options.pop(name, None) for name in _FIELDS}
        conditions = {name: value for name, value in given.items() if value is not None}
        return command(*args, conditions=conditions, **options)

    return with_filter  # type: ignore[return-value]


silent_for = click.option(
    "--silent-for", type=DURATION, help="So long without a heartbeat, at least: 90, 30m, 2h."
)


def to_filter(state: str, conditions: dict[str, Any]) -> JobFilter:
    """The options as the API takes them; ends the command if they are wrong."""
    fields = {
        name: value.total_seconds() if name in ("silent_for", "older_than") else value
        for name, value in conditions.items()
    }
    try:
        return JobFilter.model_validate({"state": state, **fields})
    except ValidationError as error:
        raise click.UsageError(problem(error, "filter")) from error
