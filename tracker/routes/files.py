"""Files that recipes name by their hash."""

from typing import Annotated

from fastapi import APIRouter, Header, Path, Response
from fastapi.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

from laion_protocol import InvalidRequest, NotFound
from tracker.auth import Anyone, Have

from .bodies import FILE
from .errors import KNOWN, refusals

router = APIRouter(prefix="/v1/files", tags=["files"], responses=refusals(*KNOWN, NotFound))

Sha256 = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]


class _File(FileResponse):
    """A range that makes no sense is refused in our shape; Starlette has one of its own."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, or what was asked for of it."""

        async def checked(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                raise InvalidRequest("Range: the file has no such bytes; ask for some that it has")
            await send(message)

        await super().__call__(scope, receive, checked)


@router.get(
    "/{sha256}",
    response_class=Response,
    responses={200: FILE, 206: {"description": "The range that was asked for", **FILE}},
)
async def fetch(
    sha256: Sha256,
    _caller: Anyone,
    have: Have,
    _range: Annotated[str | None, Header(alias="Range")] = None,
) -> FileResponse:
    """The file; `Range` is honoured, so that a broken download can go on."""
    path = await have.files.locate(sha256)
    headers = {"ETag": f'"{sha256}"', "Cache-Control": "private, max-age=31536000, immutable"}
    return _File(path, media_type="application/octet-stream", headers=headers)
