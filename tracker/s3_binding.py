"""`S3Binding`: does this S3 service refuse what its own signed URL does not allow?

Amazon's does. Some services take the header with the SHA-256 and never look at the body. Asking
for the checksum later is no help there: they repeat what the uploader claimed.
"""

import asyncio
import hashlib
import logging
import secrets
from datetime import timedelta
from typing import Final

import aiohttp
from yarl import URL

from laion_protocol import Unavailable

from .s3_signer import S3Signer
from .shard_store import Slot

log = logging.getLogger(__name__)

_GOOD: Final = b"what was announced"
#: Another content, another size, no word of a hash, another hash: none of them may be taken.
_BAD: Final = b"what WAS announced"
_LONG: Final = _GOOD + b"!"
_SECONDS: Final = 30.0
_LIFETIME: Final = timedelta(minutes=5)
_RETRY: Final = 10.0


class S3Binding:
    """Tries it once, and remembers."""

    def __init__(self, signer: S3Signer) -> None:
        self._signer = signer
        self._holds: bool | None = None
        self._lock = asyncio.Lock()

    async def holds(self) -> bool:
        """Whether what lies at a slot's URL is surely what was announced.

        Raises:
            Unavailable: the service does not answer, or refuses a good upload too.
        """
        async with self._lock:
            if self._holds is None:
                self._holds = await self._try()
                if not self._holds:
                    log.warning(
                        "this S3 service takes files that are not what its signed URL allows; "
                        "the tracker reads every file once more before it takes a shard"
                    )
            return self._holds

    async def _try(self) -> bool:
        # Where an abandoned upload would lie, so that it is swept as one.
        key = f"uploads/probe/00000000/{secrets.token_hex(16)}/probe"
        slot, other = (self._slot(key, body) for body in (_GOOD, _BAD))
        bare = Slot(slot.url, {"Content-Type": slot.headers["Content-Type"]})
        borrowed = Slot(slot.url, other.headers)
        try:
            async with aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=_SECONDS)
            ) as session:
                taken = [
                    await _put(session, place, body)
                    for place, body in ((slot, _BAD), (slot, _LONG), (bare, _BAD), (borrowed, _BAD))
                ]
                if not any(taken) and not await _put(session, slot, _GOOD):
                    raise Unavailable(
                        "the tracker's store refuses what the tracker allows; the operator should "
                        "check its key, clock and endpoint",
                        retry_after=_RETRY,
                    )
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(
                "the tracker's store does not answer at the moment", retry_after=_RETRY
            ) from error
        return not any(taken)

    def _slot(self, key: str, body: bytes) -> Slot:
        sha256 = hashlib.sha256(body).hexdigest()
        return self._signer.put(key, size=len(body), sha256=sha256, lifetime=_LIFETIME)


async def _put(session: aiohttp.ClientSession, slot: Slot, body: bytes) -> bool:
    async with session.put(
        URL(slot.url, encoded=True), data=body, headers=slot.headers, allow_redirects=False
    ) as response:
        if response.status >= 500:
            raise Unavailable(
                "the tracker's store does not answer at the moment", retry_after=_RETRY
            )
        return response.status < 300
