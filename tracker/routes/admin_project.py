"""The state of the whole project: anyone may read it, admins set it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Response

from laion_protocol import Conflict, NotFound
from laion_protocol.messages import (
    Announcement,
    Maintenance,
    NewAnnouncement,
    Pause,
    ProjectState,
    WorkerVersions,
)
from tracker.audit import Note
from tracker.auth import ForAccounts, ForProject, Have, anyone
from tracker.identity import Caller
from tracker.resources import Resources

from .errors import KNOWN, refusals
from .once import Once

router = APIRouter(tags=["project"], route_class=Once, responses=refusals())
_ADMIN: Final = refusals(*KNOWN, Conflict)

_PROJECT = "/v1/admin/project"
Number = Annotated[int, Path(ge=1, lt=2**53)]


@router.get("/v1/project", dependencies=[Depends(anyone)])
async def project(have: Have) -> ProjectState:
    """Whether the project is paused or rests, which workers it takes, what it announces."""
    return await have.project.state()


@router.post(f"{_PROJECT}/pause", responses=_ADMIN)
async def pause(pause: Pause, admin: ForProject, have: Have) -> ProjectState:
    """Hand out no jobs until `resume`; workers stop where they are and keep their leases."""
    async with _noted(have, admin, "project_pause", "paused", pause.reason) as note:
        state = await have.project.pause(pause)
        note.after = _shown(state, "paused")
    return state


@router.post(f"{_PROJECT}/resume", responses=_ADMIN)
async def resume(admin: ForProject, have: Have) -> ProjectState:
    """Hand out jobs again; safe to repeat."""
    async with _noted(have, admin, "project_resume", "paused"):
        return await have.project.resume()


@router.put(f"{_PROJECT}/maintenance", responses=_ADMIN)
async def rest(maintenance: Maintenance, admin: ForProject, have: Have) -> ProjectState:
    """Hand out no jobs until a time; what is leased goes on."""
    async with _noted(have, admin, "maintenance_set", "maintenance", maintenance.reason) as note:
        state = await have.project.rest(maintenance)
        note.after = _shown(state, "maintenance")
    return state


@router.delete(f"{_PROJECT}/maintenance", responses=_ADMIN)
async def end_rest(admin: ForProject, have: Have) -> ProjectState:
    """End the maintenance now; safe to repeat."""
    async with _noted(have, admin, "maintenance_end", "maintenance"):
        return await have.project.end_rest()


@router.put(f"{_PROJECT}/worker-version", responses=_ADMIN)
async def require(versions: WorkerVersions, admin: ForAccounts, have: Have) -> ProjectState:
    """Say which worker versions get jobs, from when on, and why."""
    async with _noted(
        have, admin, "worker_version_set", "worker_versions", versions.reason
    ) as note:
        state = await have.project.require(versions)
        note.after = _shown(state, "worker_versions")
    return state


@router.delete(f"{_PROJECT}/worker-version", responses=_ADMIN)
async def require_none(admin: ForAccounts, have: Have) -> ProjectState:
    """Every worker version gets jobs; safe to repeat."""
    async with _noted(have, admin, "worker_version_clear", "worker_versions"):
        return await have.project.require_none()


@router.post("/v1/admin/announcements", responses=_ADMIN)
async def announce(new: NewAnnouncement, admin: ForProject, have: Have) -> Announcement:
    """Tell every worker something, once."""
    async with have.audit.row(admin, "announce", "") as note:
        announcement = await have.project.announce(new)
        note.after = announcement.model_dump(mode="json")
    return announcement


@router.delete(
    "/v1/admin/announcements/{number}", status_code=204, responses=_ADMIN | refusals(NotFound)
)
async def withdraw(number: Number, admin: ForProject, have: Have) -> Response:
    """Tell it to no more workers."""
    shown = (await have.project.state()).announcements
    before = next((row.model_dump(mode="json") for row in shown if row.id == number), None)
    async with have.audit.row(admin, "announcement_withdraw", str(number), before=before):
        await have.project.withdraw(number)
    return Response(status_code=204)


@asynccontextmanager
async def _noted(
    have: Resources, admin: Caller, action: str, field: str, reason: str = ""
) -> AsyncIterator[Note]:
    before = _shown(await have.project.state(), field)
    async with have.audit.row(admin, action, "", reason=reason, before=before) as note:
        yield note


def _shown(state: ProjectState, field: str) -> object:
    return state.model_dump(mode="json")[field]
