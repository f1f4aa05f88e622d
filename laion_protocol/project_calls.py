"""`ProjectCalls`: the state of the whole project, to read and to set."""

from .calls import Calls
from .messages.project import (
    Maintenance,
    NewAnnouncement,
    Pause,
    ProjectState,
    WorkerVersions,
)
from .messages.work import Announcement


class ProjectCalls(Calls):
    """All but `project` are an admin's, and audited. `token`: a delegated one."""

    async def project(self) -> ProjectState:
        """Whether the project is paused or rests, which workers it takes, what it announces."""
        return await self._get("/v1/project", ProjectState)

    async def pause_project(self, pause: Pause, *, token: str | None = None) -> ProjectState:
        """Hand out no jobs at all, and let workers stop where they are, until `resume_project`."""
        return await self._post("/v1/admin/project/pause", pause, ProjectState, token=token)

    async def resume_project(self, *, token: str | None = None) -> ProjectState:
        """Hand out jobs again."""
        return await self._send("POST", "/v1/admin/project/resume", ProjectState, token=token)

    async def set_maintenance(
        self, maintenance: Maintenance, *, token: str | None = None
    ) -> ProjectState:
        """Hand out no jobs until a time; what is leased goes on."""
        path = "/v1/admin/project/maintenance"
        return await self._send("PUT", path, ProjectState, message=maintenance, token=token)

    async def end_maintenance(self, *, token: str | None = None) -> ProjectState:
        """Hand out jobs again before that time."""
        return await self._send(
            "DELETE", "/v1/admin/project/maintenance", ProjectState, token=token
        )

    async def set_worker_versions(
        self, versions: WorkerVersions, *, token: str | None = None
    ) -> ProjectState:
        """From which worker version on there are jobs."""
        path = "/v1/admin/project/worker-version"
        return await self._send("PUT", path, ProjectState, message=versions, token=token)

    async def clear_worker_versions(self, *, token: str | None = None) -> ProjectState:
        """Every worker version gets jobs again."""
        return await self._send(
            "DELETE", "/v1/admin/project/worker-version", ProjectState, token=token
        )

    async def announce(self, new: NewAnnouncement, *, token: str | None = None) -> Announcement:
        """Tell every worker something, once."""
        return await self._post(
            "/v1/admin/announcements", new, Announcement, token=token, repeatable=False
        )

    async def withdraw_announcement(self, number: int, *, token: str | None = None) -> None:
        """Tell it to no more workers."""
        await self._http.call("DELETE", f"/v1/admin/announcements/{number}", token=token)
