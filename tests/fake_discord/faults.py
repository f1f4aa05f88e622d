"""Trouble on demand, and Discord's rate limits."""

import re
import time
from dataclasses import dataclass

from aiohttp import web

from .wire import answer

#: a 429 without it looks like a Cloudflare ban to discord.py, which then gives up
VIA = "1.1 google"


@dataclass
class Fault:
    """The next `times` requests that match are answered with `status`; 0 cuts the connection."""

    method: str
    path: str
    status: int
    times: int
    retry_after: float
    everywhere: bool


class Faults:
    """What is to go wrong next."""

    def __init__(self) -> None:
        self._planned: list[Fault] = []

    def fail_next(
        self,
        method: str,
        path: str,
        status: int,
        times: int = 1,
        *,
        retry_after: float = 0.3,
        everywhere: bool = False,
    ) -> None:
        """Fail the next requests whose method is equal and whose path matches the pattern."""
        self._planned.append(Fault(method, path, status, times, retry_after, everywhere))

    def clear(self) -> None:
        """Let everything work again."""
        self._planned.clear()

    def strike(self, request: web.Request) -> web.Response | None:
        """The answer of the fault that this request meets, if any."""
        for fault in self._planned:
            if fault.times <= 0 or request.method != fault.method:
                continue
            if not re.search(fault.path, request.path):
                continue
            fault.times -= 1
            return self._answer(fault, request)
        return None

    def _answer(self, fault: Fault, request: web.Request) -> web.Response:
        if fault.status == 0:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        if fault.status == 429:
            scope = "global" if fault.everywhere else "shared"
            return too_many(fault.retry_after, scope, everywhere=fault.everywhere)
        return web.Response(status=fault.status, text="upstream error")


def too_many(
    retry_after: float,
    scope: str,
    headers: dict[str, str] | None = None,
    *,
    everywhere: bool = False,
) -> web.Response:
    """A 429 as Discord sends it; `retry_after` in seconds."""
    body = {
        "message": "You are being rate limited.",
        "retry_after": retry_after,
        "global": everywhere,
    }
    limits = {"Retry-After": str(retry_after), "Via": VIA, "X-RateLimit-Scope": scope}
    return answer(body, status=429, headers=(headers or {}) | limits)


@dataclass
class _Bucket:
    left: int
    reset: float


class RateLimits:
    """Buckets by method, kind of route and its major parameter: (requests, seconds)."""

    def __init__(self) -> None:
        self.limits: dict[tuple[str, str], tuple[int, float]] = {
            ("POST", "messages"): (5, 5.0),
            ("PATCH", "messages"): (5, 5.0),
        }
        self.hits = 0
        self._buckets: dict[tuple[str, str, str], _Bucket] = {}

    def take(self, method: str, path: str) -> tuple[dict[str, str], web.Response | None]:
        """The headers for this request's answer, and a 429 when its bucket is empty."""
        # /api/v10/<top>/<major>/<kind>/…
        parts = [*path.split("/")[3:], "", "", ""]
        kind = parts[2] or parts[0]
        allowed, seconds = self.limits.get((method, kind), (50, 1.0))
        bucket = self._buckets.setdefault((method, kind, parts[1]), _Bucket(allowed, 0.0))
        clock = time.time()
        if clock >= bucket.reset:
            bucket.left, bucket.reset = allowed, clock + seconds
        bucket.left -= 1
        wait = max(bucket.reset - clock, 0.0)
        headers = {
            "X-RateLimit-Limit": str(allowed),
            "X-RateLimit-Remaining": str(max(bucket.left, 0)),
            "X-RateLimit-Reset": f"{bucket.reset:.3f}",
            "X-RateLimit-Reset-After": f"{wait:.3f}",
            "X-RateLimit-Bucket": f"{method}-{kind}".lower(),
            "Via": VIA,
        }
        if bucket.left >= 0:
            return headers, None
        self.hits += 1
        return headers, too_many(wait, "user", headers)
