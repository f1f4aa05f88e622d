"""`DeviceCalls`: how a machine gets its token, and what people see of their own account."""

import asyncio
from io import BytesIO

from .calls import Calls, parsed
from .errors import AuthorizationPending, SlowDown
from .messages import (
    DeviceApproval,
    DeviceApproved,
    DeviceLogin,
    DeviceRequest,
    DeviceToken,
    DeviceTokenRequest,
    Me,
    NewToken,
    TokenAdded,
    Tokens,
    WorkerViews,
)


class DeviceCalls(Calls):
    """A login in the shape of RFC 8628, and `/v1/me`."""

    async def start_device_login(self, request: DeviceRequest) -> DeviceLogin:
        """Codes for a machine that has no token: show the user code and the address."""
        return await self._post("/v1/device", request, DeviceLogin)

    async def poll_device_login(self, device_code: str) -> DeviceToken:
        """The token, once a person said yes.

        Raises:
            AuthorizationPending, SlowDown: ask again, after a while that only `SlowDown` changes.
            AccessDenied: a person said no.
            CodeExpired: start over.
        """
        request = DeviceTokenRequest(device_code=device_code)
        return await self._post("/v1/device/token", request, DeviceToken)

    async def finish_device_login(self, login: DeviceLogin) -> DeviceToken:
        """Ask until a person has decided, as often as the tracker allows.

        Raises:
            AccessDenied: a person said no.
            CodeExpired: nobody said anything in time; start over.
        """
        interval = float(login.interval)
        while True:
            await asyncio.sleep(interval)
            try:
                return await self.poll_device_login(login.device_code)
            except AuthorizationPending:
                pass
            except SlowDown as refusal:
                interval = max(interval + 1, refusal.retry_after or interval + 5)

    async def approve_device(self, approval: DeviceApproval) -> DeviceApproved:
        """For the bot: let a machine in for a person of Discord, or not; safe to repeat.

        Raises:
            NotFound: no machine waits with this code.
            RateLimited: this person typed too many wrong ones.
            Conflict: the proposed name is taken; propose another.
        """
        body = approval.model_dump_json().encode()
        raw = await self._http.call(
            "POST",
            "/v1/device/approve",
            body=lambda: BytesIO(body),
            headers={
                "Content-Type": "application/json",
                "Idempotency-Key": f"{approval.interaction_id}-{approval.account or ''}",
            },
        )
        return parsed(DeviceApproved, raw)

    async def me(self, *, token: str | None = None) -> Me:
        """The account behind the token, and its machines."""
        return await self._get("/v1/me", Me, token=token)

    async def my_tokens(self) -> Tokens:
        """The account's tokens, without their secrets."""
        return await self._get("/v1/me/tokens", Tokens)

    async def add_my_token(self, new: NewToken) -> TokenAdded:
        """One more token; the answer holds it, once."""
        return await self._post("/v1/me/tokens", new, TokenAdded, repeatable=False)

    async def drop_my_token(self, token_id: str) -> None:
        """From now on this token is not taken."""
        await self._http.call("DELETE", f"/v1/me/tokens/{token_id}")

    async def forget_my_worker(self, worker: str) -> None:
        """Take a machine off the account's list."""
        await self._http.call("DELETE", f"/v1/me/workers/{worker}")

    async def workers(self, account: str) -> WorkerViews:
        """An account's machines, as anyone may see them."""
        return await self._get(f"/v1/workers/{account}", WorkerViews)
