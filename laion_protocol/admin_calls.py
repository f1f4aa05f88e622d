"""`AdminCalls`: what only an admin may ask of the tracker."""

from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from .calls import Calls, new_key, parsed
from .messages import (
    AccountAdded,
    Accounts,
    AuditLog,
    CrawlAdded,
    CrawlStateAnswer,
    NewAccount,
    NewCrawl,
    NewToken,
    Requeue,
    Requeued,
    StaleJobs,
    TokenAdded,
    Tokens,
)


class AdminCalls(Calls):
    """Each call is audited. `token`: a delegated one; without it, the client's own is used."""

    async def add_crawl(self, crawl: NewCrawl, *, token: str | None = None) -> CrawlAdded:
        """Add a crawl; adding the same again changes nothing."""
        return await self._post("/v1/admin/crawls", crawl, CrawlAdded, token=token)

    async def pause_crawl(self, name: str, *, token: str | None = None) -> None:
        """Stop handing out this crawl's jobs; what is leased goes on."""
        await self._http.call("POST", f"/v1/admin/crawls/{name}/pause", token=token)

    async def resume_crawl(self, name: str, *, token: str | None = None) -> None:
        """Hand out this crawl's jobs again."""
        await self._http.call("POST", f"/v1/admin/crawls/{name}/resume", token=token)

    async def drain_crawl(self, name: str, *, token: str | None = None) -> CrawlStateAnswer:
        """As pause, and finished as soon as nothing is leased or being verified."""
        path = f"/v1/admin/crawls/{name}/drain"
        return await self._send("POST", path, CrawlStateAnswer, token=token)

    async def finish_crawl(self, name: str, *, token: str | None = None) -> CrawlStateAnswer:
        """Close it now; open leases are lost at their next heartbeat."""
        path = f"/v1/admin/crawls/{name}/finish"
        return await self._send("POST", path, CrawlStateAnswer, token=token)

    async def remove_crawl(self, name: str, *, token: str | None = None) -> None:
        """Remove a crawl for which no result was accepted yet."""
        await self._http.call("DELETE", f"/v1/admin/crawls/{name}", token=token)

    async def add_account(self, account: NewAccount, *, token: str | None = None) -> AccountAdded:
        """Make an account; the answer holds its token, once."""
        return await self._post(
            "/v1/admin/accounts", account, AccountAdded, token=token, repeatable=False
        )

    async def put_file(self, sha256: str, path: Path, *, token: str | None = None) -> None:
        """Give the tracker a file that recipes name by its hash, such as model weights."""
        with ExitStack() as files:
            await self._http.call(
                "PUT",
                f"/v1/admin/files/{sha256}",
                body=lambda: files.enter_context(path.open("rb")),
                token=token,
                timeout=3600,
            )

    async def stale_jobs(
        self,
        *,
        crawl: str | None = None,
        silent_for: timedelta | None = None,
        limit: int = 25,
        token: str | None = None,
    ) -> StaleJobs:
        """Leased jobs without a heartbeat for `silent_for` (default: two heartbeats)."""
        params = {"limit": str(limit)}
        if crawl is not None:
            params["crawl"] = crawl
        if silent_for is not None:
            params["silent_for"] = str(silent_for.total_seconds())
        return await self._get("/v1/admin/jobs/stale", StaleJobs, params=params, token=token)

    async def requeue(
        self, requeue: Requeue, *, key: str | None = None, token: str | None = None
    ) -> Requeued:
        """Take jobs from their workers, or from the dead letters; `dry_run` only tells.

        Under the same idempotency `key` it is done once, and answered the same for a day; by
        default each call has its own.
        """
        path = "/v1/admin/jobs/requeue"
        return await self._post(path, requeue, Requeued, key=key or new_key(), token=token)

    async def accounts(self, *, token: str | None = None) -> Accounts:
        """Every account, without tokens."""
        return await self._get("/v1/admin/accounts", Accounts, token=token)

    async def revoke_account(self, name: str, *, token: str | None = None) -> None:
        """From now on none of the account's tokens is taken."""
        await self._http.call("POST", f"/v1/admin/accounts/{name}/revoke", token=token)

    async def renew_token(self, name: str, *, token: str | None = None) -> AccountAdded:
        """A new token in place of the account's old ones; the answer holds it, once."""
        raw = await self._http.call(
            "POST", f"/v1/admin/accounts/{name}/token", token=token, repeatable=False
        )
        return parsed(AccountAdded, raw)

    async def account_tokens(self, name: str, *, token: str | None = None) -> Tokens:
        """An account's tokens, without their secrets."""
        return await self._get(f"/v1/admin/accounts/{name}/tokens", Tokens, token=token)

    async def add_account_token(
        self, name: str, new: NewToken, *, token: str | None = None
    ) -> TokenAdded:
        """One more token for an account; the answer holds it, once."""
        path = f"/v1/admin/accounts/{name}/tokens"
        return await self._post(path, new, TokenAdded, token=token, repeatable=False)

    async def drop_account_token(
        self, name: str, token_id: str, *, token: str | None = None
    ) -> None:
        """From now on this token is not taken."""
        path = f"/v1/admin/accounts/{name}/tokens/{token_id}"
        await self._http.call("DELETE", path, token=token)

    async def audit(
        self,
        limit: int = 100,
        *,
        actor: str | None = None,
        action: str | None = None,
        target: str | None = None,
        before: str | None = None,
        token: str | None = None,
    ) -> AuditLog:
        """Who changed what, and what was refused; newest first. By an account or through a bot, of
        an action, with these characters in the target, older than the row `before`."""
        asked = {"actor": actor, "action": action, "target": target, "before": before}
        params = {name: text for name, text in asked.items() if text is not None}
        params["limit"] = str(limit)
        return await self._get("/v1/admin/audit", AuditLog, params=params, token=token)
