"""Bodies that are read piece by piece: their announced size, and their bound."""

import time
from collections.abc import AsyncIterator
from typing import Any, Final

from fastapi import Request

from laion_protocol import InvalidRequest, TooLarge

#: A file that comes more slowly than a quarter of a megabit a second would hold its place for
#: hours; bytes a second.
_LEAST_RATE: Final = 32 * 2**10
_GRACE_SECONDS: Final = 60.0
#: For `responses`: a file.
FILE: Final[dict[str, Any]] = {
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
}
#: For `openapi_extra`: the body is a file, which the framework does not read.
BYTES: Final[dict[str, Any]] = {"requestBody": {"required": True, **FILE}}


def announced_size(request: Request, most: int) -> int:
    """The Content-Length, bytes.

    Raises:
        InvalidRequest: there is none.
        TooLarge: it is over `most`.
    """
    header = request.headers.get("Content-Length", "")
    if not header.isascii() or not header.isdecimal() or len(header) > 18:
        raise InvalidRequest("Content-Length: send the file's size in bytes with the file")
    size = int(header)
    if size > most:
        raise TooLarge(f"the file has {size} bytes; {most} is the most for one file")
    return size


async def pieces(request: Request, size: int) -> AsyncIterator[bytes]:
    """The body as it comes.

    Raises:
        InvalidRequest: it comes too slowly.
    """
    end = time.monotonic() + _GRACE_SECONDS + size / _LEAST_RATE
    async for piece in request.stream():
        if time.monotonic() > end:
            raise InvalidRequest(f"the file came at under {_LEAST_RATE} bytes a second; try again")
        yield piece


async def whole(request: Request, most: int) -> bytes:
    """All of a body of at most `most` bytes; raises `TooLarge` beyond that."""
    body = bytearray()
    async for piece in pieces(request, most):
        body += piece
        if len(body) > most:
            raise TooLarge(f"the body is over {most} bytes")
    return bytes(body)
