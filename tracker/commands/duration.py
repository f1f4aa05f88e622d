"""`Duration` and `Moment`: how long, and until when, as one types it at a terminal."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

_FORM: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)?")
_SECONDS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, None: 1}
_MOST: Final = timedelta(days=3650)


class Duration(click.ParamType):  # type: ignore[type-arg]
    """`90`, `90s`, `30m`, `2h`, `1d`."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """As a `timedelta`."""
        if isinstance(value, timedelta):
            return value
        match = _FORM.fullmatch(value.strip())
        seconds = float(match[1]) * _SECONDS[match[2]] if match else None
        if seconds is None:
            self.fail(f"{value!r} is no duration; type 90, 30m, 2h or 1d", param, ctx)
        if seconds > _MOST.total_seconds():
            self.fail(f"{value!r} is too long; the longest is {_MOST.days}d", param, ctx)
        return timedelta(seconds=seconds)


class Moment(click.ParamType):  # type: ignore[type-arg]
    """A duration from now, or a time as 2026-11-23T18:00Z; one without zone is UTC."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """As an aware time."""
        if isinstance(value, datetime):
            return value
        if _FORM.fullmatch(value.strip()):
            return datetime.now(UTC) + DURATION.convert(value, param, ctx)
        try:
            time = datetime.fromisoformat(value.strip())
        except ValueError:
            self.fail(f"{value!r} is no time; type 2h, or 2026-11-23T18:00Z", param, ctx)
        return time if time.tzinfo else time.replace(tzinfo=UTC)


DURATION: Final = Duration()
MOMENT: Final = Moment()
