"""`DedupeCalls`: which pairs are new, for workers; what the tracker knows of them, for admins."""

from .calls import Calls
from .messages.dedupe import DedupeState, Novelty, PairKeys


class DedupeCalls(Calls):
    """Every call may be sent again."""

    async def new_pairs(self, lease_id: str, keys: PairKeys) -> Novelty:
        """Which of these pairs no other shard has, or is about to have.

        Raises:
            LeaseLost: the lease is over.
        """
        return await self._post(f"/v1/leases/{lease_id}/dedupe", keys, Novelty)

    async def dedupe_state(self, *, token: str | None = None) -> DedupeState:
        """Filters, reservations, and what was counted."""
        return await self._get("/v1/admin/dedupe", DedupeState, token=token)

    async def rebuild_dedupe(self, *, token: str | None = None) -> None:
        """Make the filters anew from the accepted shards, on the machine that answers. Returns
        when it has begun, or one was under way; `dedupe_state` is `busy` as long as it lasts."""
        await self._http.call("POST", "/v1/admin/dedupe/rebuild", token=token)
