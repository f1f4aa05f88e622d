"""How commands answer: tables for people, the API's JSON for programs."""

import functools
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import click
from pydantic import BaseModel

_F = TypeVar("_F", bound=Callable[..., Any])
#: of strangers' words in a table
_MOST: Final = 120


@dataclass(frozen=True)
class Answer:
    """What a command found or did."""

    message: BaseModel | Sequence[BaseModel]  #: of the API, for `--json`
    lines: Iterable[str]  #: for people
    failure: click.ClickException | None = None  #: raised when all is printed


def prints(command: _F) -> _F:
    """Option `--json`, and the `Answer` that the command returns is printed."""

    @click.option("--json", "as_json", is_flag=True, help="The API's answer as it is.")
    @functools.wraps(command)
    def printing(*args: Any, as_json: bool, **options: Any) -> None:
        answer: Answer = command(*args, **options)
        for line in [_json(answer.message)] if as_json else answer.lines:
            click.echo(line)
        if answer.failure is not None:
            raise answer.failure

    return printing  # type: ignore[return-value]


def confirm(question: str) -> None:
    """Somebody at the terminal says yes; the command ends otherwise."""
    try:
        said = click.confirm(question, err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise  # Ctrl-C
        raise click.UsageError("nobody is there to ask; --yes does not ask") from None
    if not said:
        raise click.Abort


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines in columns. A blank separates columns when there is one more column to come."""
    cells = [[clean(str(cell)) for cell in row] for row in rows]
    if not cells:
        return []
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [list(header), *cells]
    ]


def clean(text: str) -> str:
    """A stranger's words, bounded, and without what would steer the terminal."""
    plain = "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )
    return plain if len(plain) <= _MOST else plain[: _MOST - 1] + "…"


def ago(time: datetime) -> str:
    """How long that is over, in the two largest units."""
    return lasting(max(timedelta(0), datetime.now(UTC) - time))


def lasting(duration: timedelta) -> str:
    """`3 d 4 h`, `5 min 6 s`, `7 s`."""
    seconds = round(duration.total_seconds())
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def moment(time: datetime) -> str:
    """A time as logs have it; UTC."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _json(message: BaseModel | Sequence[BaseModel]) -> str:
    if isinstance(message, BaseModel):
        return message.model_dump_json(indent=2)
    return "[" + ",\n".join(row.model_dump_json(indent=2) for row in message) + "]"
