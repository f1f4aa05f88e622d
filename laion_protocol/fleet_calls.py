"""`FleetCalls`: who takes part, and how an admin wants them treated."""

from datetime import timedelta

from .calls import Calls, new_key
from .messages import Fleet, Treat, Treated
from .states import WorkerState


class FleetCalls(Calls):
    """An admin's; what changes something is audited. `token`: a delegated one.

    With a `worker`, one machine of the account is meant; without, the whole account.
    """

    async def fleet(
        self,
        *,
        account: str | None = None,
        state: WorkerState | None = None,
        seen_within: timedelta | None = None,
        limit: int = 100,
        token: str | None = None,
    ) -> Fleet:
        """The workers that were ever seen, or those that fit."""
        params = {"limit": str(limit)}
        if account is not None:
            params["account"] = account
        if state is not None:
            params["state"] = state.value
        if seen_within is not None:
            params["seen_within"] = str(seen_within.total_seconds())
        return await self._get("/v1/admin/workers", Fleet, params=params, token=token)

    async def drain(
        self, account: str, worker: str | None, treat: Treat, *, token: str | None = None
    ) -> Treated:
        """Give it no more jobs; what it holds it may finish."""
        return await self._treat("drain", account, worker, treat, token)

    async def ban(
        self, account: str, worker: str | None, treat: Treat, *, token: str | None = None
    ) -> Treated:
        """Take nothing of it any more, and its jobs from it."""
        return await self._treat("ban", account, worker, treat, token)

    async def pardon(
        self, account: str, worker: str | None, treat: Treat, *, token: str | None = None
    ) -> Treated:
        """Treat it as any other again."""
        return await self._treat("pardon", account, worker, treat, token)

    async def _treat(
        self, verb: str, account: str, worker: str | None, treat: Treat, token: str | None
    ) -> Treated:
        path = f"accounts/{account}" if worker is None else f"workers/{account}/{worker}"
        return await self._post(
            f"/v1/admin/{path}/{verb}", treat, Treated, key=new_key(), token=token
        )
