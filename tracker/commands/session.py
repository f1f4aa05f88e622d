"""What every command needs: which tracker, whose token, and one sentence when it fails."""

import asyncio
import functools
import json
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from laion_protocol import (
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    RateLimited,
    StorageFull,
    TrackerError,
    Unauthorized,
    Unavailable,
)
from laion_protocol.client import NotATracker, TrackerClient
from laion_protocol.transport import tracker_url
from tracker.place import ADDRESS_FILE, TOKEN_FILE

_T = TypeVar("_T")
_F = TypeVar("_F", bound=Callable[..., Any])

DEFAULT_DATA: Final = "tracker-data"
#: Somebody waits at a terminal: seconds.
_PATIENCE: Final = 10.0
_UPLOAD_TIMEOUT: Final = 120.0
_TOKEN: Final = re.compile(r"[!-~]+")
_LONGEST_TOKEN: Final = 4096

_STATUS: Final[tuple[tuple[type[TrackerError], int], ...]] = (
    (Unauthorized, os.EX_NOPERM),
    (Forbidden, os.EX_NOPERM),
    (NotFound, os.EX_DATAERR),
    (Conflict, os.EX_DATAERR),
    (InvalidRequest, os.EX_DATAERR),
    (Unavailable, os.EX_UNAVAILABLE),
    (StorageFull, os.EX_UNAVAILABLE),
    (RateLimited, os.EX_TEMPFAIL),
)


class Failed(click.ClickException):
    """Ends the command with one sentence on standard error and a status of `exit_status`."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.exit_code = status  # type: ignore[misc]


class _DataDirectory(click.Path):
    """A directory by name: an empty one would be the directory that the shell is in."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if value == "":
            self.fail("the name is empty; name the tracker's data directory", param, ctx)
        return super().convert(value, param, ctx)


class _InputFile(click.Path):
    """A file that is there and may be read."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Path:
        path = Path(value)
        try:
            with path.open("rb"):
                return path
        except OSError as error:
            raise Failed(
                f"{str(path)!r} cannot be read ({error.strerror})", os.EX_NOINPUT
            ) from error


INPUT: Final = _InputFile(dir_okay=False, path_type=Path)

data_option = click.option(
    "--data",
    type=_DataDirectory(file_okay=False, path_type=Path),
    default=DEFAULT_DATA,
    show_default=True,
    envvar="LAION_TRACKER_DATA",
    help="The tracker's data directory.",
)


def to_tracker(command: _F) -> _F:
    """Options that say which tracker; the command gets `call`, which runs a function of a
    `TrackerClient` and returns its result."""

    @data_option
    @click.option("--tracker", "url", callback=_url, metavar="URL",
                  help="URL of a tracker elsewhere, with --token-file.")  # fmt: skip
    @click.option(
        "--token-file",
        type=click.Path(dir_okay=False, path_type=Path),
        help="File with an admin's token, for --tracker.",
    )
    @functools.wraps(command)
    def with_tracker(
        *args: Any, data: Path, url: str | None, token_file: Path | None, **options: Any
    ) -> Any:
        if (url is None) != (token_file is None):
            raise click.UsageError("--tracker and --token-file go together")
        call = functools.partial(_call, *_find(data, url, token_file))
        return command(*args, call=call, **options)

    return with_tracker  # type: ignore[return-value]


def _find(data: Path, url: str | None, token_file: Path | None) -> tuple[str, str]:
    path = data / ADDRESS_FILE
    try:
        address = url or tracker_url(json.loads(path.read_text())["url"])
        path = token_file or data / TOKEN_FILE
        return address, _token(path)
    except FileNotFoundError as error:
        if token_file is not None:
            raise Failed(f"--token-file {path} is not there", os.EX_NOINPUT) from error
        raise Failed(
            f"{path} is not there; start the tracker (`python -m tracker serve --data {data}`), "
            "or name one with --tracker and --token-file",
            os.EX_NOINPUT,
        ) from error
    except PermissionError as error:
        raise Failed(f"{path} may not be read by this user", os.EX_NOPERM) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Failed(
            f"{path} is not what a tracker writes; name the right file or directory",
            os.EX_DATAERR,
        ) from error


def _token(path: Path) -> str:
    with path.open() as file:
        token = file.read(_LONGEST_TOKEN).strip()
    if not _TOKEN.fullmatch(token):  # what it is, nobody is told: it may be another secret
        raise ValueError("no token")
    return token


def _url(_context: click.Context, _param: click.Parameter, url: str | None) -> str | None:
    try:
        return url if url is None else tracker_url(url)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _call(url: str, token: str, work: Callable[[TrackerClient], Awaitable[_T]]) -> _T:
    async def run() -> _T:
        client = TrackerClient(
            url, token, user_agent="laion-tracker-cli", patience=_PATIENCE, timeout=_UPLOAD_TIMEOUT
        )
        async with client:
            return await work(client)

    try:
        return asyncio.run(run())
    except TrackerError as error:
        status = next(
            (status for kind, status in _STATUS if isinstance(error, kind)), os.EX_DATAERR
        )
        raise Failed(str(error), status) from error
    except NotATracker as error:
        raise Failed(str(error), os.EX_PROTOCOL) from error
    except (ValueError, OSError) as error:
        raise Failed(str(error), os.EX_DATAERR) from error
