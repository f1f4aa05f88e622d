"""What every part of the fake says on the wire: JSON answers, errors, snowflakes, times."""

import itertools
import json
import time
from datetime import UTC, datetime
from typing import Any, NoReturn

from aiohttp import web

#: a JSON object; a fake of a JSON API has these at its very core
Json = dict[str, Any]

DISCORD_EPOCH_MS = 1_420_070_400_000
_sequence = itertools.count(1)


def snowflake() -> str:
    """A new id: milliseconds since Discord's epoch, then a counter in the low bits."""
    milliseconds = int(time.time() * 1000) - DISCORD_EPOCH_MS
    return str(milliseconds << 22 | (next(_sequence) & 0xFFF))


def now() -> str:
    """The time as Discord writes it."""
    return datetime.now(UTC).isoformat()


def answer(
    body: Json | list[Json], status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """A JSON answer. discord.py wants exactly `application/json`, without a charset."""
    return web.Response(
        body=json.dumps(body).encode(),
        status=status,
        headers=headers,
        content_type="application/json",
    )


class ApiError(Exception):
    """A refusal, with Discord's numeric code."""

    def __init__(self, status: int, code: int, message: str, errors: Json | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body: Json = {"code": code, "message": message}
        if errors is not None:
            self.body["errors"] = errors


def unknown(what: str, code: int) -> ApiError:
    """404 with the code that says what is missing."""
    return ApiError(404, code, f"Unknown {what}")


def invalid(path: str, code: str, message: str) -> NoReturn:
    """Refuse a form field, nested as Discord nests it (code 50035)."""
    node: Json = {"_errors": [{"code": code, "message": message}]}
    for part in reversed(path.split(".")):
        node = {part: node}
    raise ApiError(400, 50035, "Invalid Form Body", node)
