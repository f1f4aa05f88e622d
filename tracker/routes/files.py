"""Files that recipes name by their hash."""

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import FileResponse

from tracker.auth import Anyone, Have

router = APIRouter(prefix="/v1/files", tags=["files"])

Sha256 = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]


@router.get("/{sha256}")
async def fetch(sha256: Sha256, _caller: Anyone, have: Have) -> FileResponse:
    """The file; `Range` is honoured, so that a broken download can go on."""
    path = await have.files.locate(sha256)
    headers = {"ETag": f'"{sha256}"', "Cache-Control": "private, max-age=31536000, immutable"}
    return FileResponse(path, media_type="application/octet-stream", headers=headers)
