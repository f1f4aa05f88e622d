"""`JobCalls`: searching jobs, taking many back at once, and undoing that."""

from .calls import Calls, new_key
from .messages import (
    Actions,
    FindJobs,
    FoundJobs,
    JobDetail,
    RequeueSelection,
    SelectionRequeued,
    Undo,
    Undone,
)


class JobCalls(Calls):
    """An admin's; what changes something is audited. `token`: a delegated one."""

    async def job(self, job: str, *, token: str | None = None) -> JobDetail:
        """All that is known of one job, `<crawl>/<number>`."""
        return await self._get(f"/v1/admin/jobs/{job}", JobDetail, token=token)

    async def search_jobs(self, request: FindJobs, *, token: str | None = None) -> FoundJobs:
        """Which jobs a filter means now, and a `selection` that stands for them."""
        return await self._post("/v1/admin/jobs/search", request, FoundJobs, token=token)

    async def requeue_selection(
        self, request: RequeueSelection, *, key: str | None = None, token: str | None = None
    ) -> SelectionRequeued:
        """Take back what a search showed; another call goes on with what is left.

        Under the same idempotency `key` it is done once, and answered the same for a day; by
        default each call has its own.
        """
        path = "/v1/admin/jobs/requeue-selection"
        return await self._post(path, request, SelectionRequeued, key=key or new_key(), token=token)

    async def actions(self, limit: int = 100, *, token: str | None = None) -> Actions:
        """The bulk actions of the last day, newest first."""
        params = {"limit": str(limit)}
        return await self._get("/v1/admin/actions", Actions, params=params, token=token)

    async def undo(self, action: str, undo: Undo, *, token: str | None = None) -> Undone:
        """Put back what nobody has touched since; safe to repeat."""
        return await self._post(f"/v1/admin/actions/{action}/undo", undo, Undone, token=token)
