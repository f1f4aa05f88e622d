"""What anyone may see of the machines that take part."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from laion_protocol import NotFound
from laion_protocol.messages import Name, WorkerRow, WorkerView, WorkerViews
from tracker.auth import Have, anyone

from .errors import refusals

router = APIRouter(
    prefix="/v1/workers",
    tags=["workers"],
    dependencies=[Depends(anyone)],
    responses=refusals(NotFound),
)


@router.get("/{account}")
async def workers(account: Annotated[Name, Path()], have: Have) -> WorkerViews:
    """An account's machines."""
    await have.accounts.row(account)
    rows = await have.workers.rows(account=account)
    return WorkerViews(account=account, workers=tuple(_view(row) for row in rows))


@router.get("/{account}/{worker}")
async def worker(
    account: Annotated[Name, Path()], worker: Annotated[Name, Path()], have: Have
) -> WorkerView:
    """One machine."""
    return _view(await have.workers.row(account, worker))


def _view(row: WorkerRow) -> WorkerView:
    # why an admin drained or banned somebody is between them
    return WorkerView.model_validate(row.model_dump(include=set(WorkerView.model_fields)))
