"""Where a shard's files go, and how they come in."""

import re
from typing import Annotated, Final

from fastapi import APIRouter, Path, Request, Response

from laion_protocol import (
    FileEntry,
    InvalidRequest,
    LeaseLost,
    NotFound,
    StorageFull,
    UploadMismatch,
)
from laion_protocol.messages import LeaseId, UploadPlan, UploadRequest, UploadSlot
from laion_protocol.shard_format import FILE_NAME_PATTERN, MAX_FILE_BYTES
from tracker.auth import Have, Worker
from tracker.resources import Resources
from tracker.shard_store import Slot, missing, shard_prefix
from tracker.verify import is_shard_file, series_of

from .bodies import BYTES, announced_size, pieces
from .errors import KNOWN, refusals

router = APIRouter(
    prefix="/v1/leases/{lease_id}",
    tags=["uploads"],
    responses=refusals(*KNOWN, NotFound, LeaseLost, StorageFull),
)

SHA256_HEADER: Final = "X-Content-SHA256"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_FULL_RETRY: Final = 1800.0
_TOLD: Final = BYTES | {
    "parameters": [
        {
            "name": SHA256_HEADER,
            "in": "header",
            "required": True,
            "schema": {"type": "string", "pattern": f"^{_SHA256.pattern}$"},
        }
    ]
}

FileName = Annotated[str, Path(pattern=FILE_NAME_PATTERN)]


@router.post("/uploads")
async def plan(lease_id: LeaseId, request: UploadRequest, caller: Worker, have: Have) -> UploadPlan:
    """Where each file goes, and which have arrived already; nowhere, if there is no room."""
    await _expect(have, lease_id, caller.account, [file.name for file in request.files])
    prefix = shard_prefix(lease_id)
    to_come = await missing(have.store, prefix, request.files)
    if to_come:
        await check_room(have, sum(file.size for file in to_come))
    slots = []
    for file in request.files:
        lacking = file in to_come  # no URL is signed for what is there
        slot = (have.store.slot(prefix, file) if lacking else None) or _own_slot(lease_id, file)
        slots.append(
            UploadSlot(name=file.name, url=slot.url, headers=slot.headers, present=not lacking)
        )
    return UploadPlan(slots=tuple(slots))


@router.put(
    "/files/{name}", status_code=204, responses=refusals(UploadMismatch), openapi_extra=_TOLD
)
async def upload(
    lease_id: LeaseId, name: FileName, request: Request, caller: Worker, have: Have
) -> Response:
    """Take one file in, whole or not at all; the same file again is fine."""
    size = announced_size(request, MAX_FILE_BYTES)
    sha256 = request.headers.get(SHA256_HEADER, "")
    if not _SHA256.fullmatch(sha256):
        raise InvalidRequest(f"{SHA256_HEADER}: send the file's SHA-256, 64 hex digits, with it")
    await _expect(have, lease_id, caller.account, [name])
    await check_room(have, size)
    await have.store.put(
        shard_prefix(lease_id), name, pieces(request, size), size=size, sha256=sha256
    )
    return Response(status_code=204)


async def check_room(have: Resources, size: int) -> None:
    """Before the first byte is read: would the disk still have its reserve?

    Raises:
        StorageFull: it would not.
    """
    if await have.store.free_bytes() - size < have.settings.reserve_bytes:
        raise StorageFull(
            "the tracker has no room for this file now; keep it and send it again later",
            retry_after=_FULL_RETRY,
        )


def _own_slot(lease_id: str, file: FileEntry) -> Slot:
    return Slot(
        f"/v1/leases/{lease_id}/files/{file.name}",
        {SHA256_HEADER: file.sha256, "Content-Type": "application/octet-stream"},
    )


async def _expect(have: Resources, lease_id: str, account: str, names: list[str]) -> None:
    lease = await have.queue.open_lease(lease_id, account)
    recipe = (await have.queue.crawl(lease.job.crawl)).recipe
    for name in names:
        if not is_shard_file(name, recipe, lease.stage):
            raise InvalidRequest(
                f"{name}: a {lease.stage} lease of this crawl hands in "
                f"{', '.join(series_of(recipe, lease.stage))} (then -1, -2 …) and nothing else"
            )
