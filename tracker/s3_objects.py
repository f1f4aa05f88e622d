"""`S3Objects`: the objects of one bucket; what goes wrong there is `Unavailable` here."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import obstore
from botocore.credentials import Credentials
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from laion_protocol import Unavailable

from .s3_signer import S3Place

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import S3Credential

_T = TypeVar("_T")
log = logging.getLogger(__name__)

_RETRY: Final = 10.0
#: For an answer, or the next piece of one, with all tries; and for a request or answer with a file.
_SECONDS: Final = 60.0
_FILE_SECONDS: Final = 300.0
_PIECE: Final = 2**20
_PAGE: Final = 1000
#: As obstore calls `x-amz-meta-sha256`.
_NOTE: Final = "sha256"


class S3Objects:
    """Keys are relative to the place. Every method may raise `Unavailable`, and does so in bounded
    time: 60 s without an answer or its next piece, 5 minutes for a file."""

    def __init__(self, place: S3Place, credentials: Credentials) -> None:
        self._place = place

        def current() -> "S3Credential":
            frozen = credentials.get_frozen_credentials()
            return {
                "access_key_id": frozen.access_key,
                "secret_access_key": frozen.secret_key,
                "token": frozen.token,
                "expires_at": datetime.now(UTC) + timedelta(minutes=10),  # a role's are renewed
            }

        self._bucket = S3Store(
            place.bucket,
            prefix=place.prefix.rstrip("/") or None,
            endpoint=place.endpoint,
            region=place.region,
            credential_provider=current,
            client_options={
                "allow_http": place.endpoint.startswith("http:"),
                "connect_timeout": timedelta(seconds=10),
                "timeout": timedelta(seconds=_FILE_SECONDS),
            },
            retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=30)},
        )

    async def head(self, key: str) -> "tuple[ObjectMeta, str | None] | None":
        """Size, time and tag of an object, and the hash noted beside it; None if there is none."""
        with contextlib.suppress(FileNotFoundError):
            found = await self._asked(
                lambda: obstore.get_async(self._bucket, key, options={"head": True})
            )
            return found.meta, found.attributes.get(_NOTE)
        return None

    async def put(self, key: str, body: bytes | Path, sha256: str | None = None) -> None:
        """In one request: whole or not at all, and no half upload is left in the bucket. `sha256`
        is noted beside it."""
        note = {} if sha256 is None else {_NOTE: sha256}
        await self._asked(
            lambda: obstore.put_async(
                self._bucket, key, body, use_multipart=False, attributes=note
            ),
            seconds=_FILE_SECONDS,
        )

    async def put_first(self, key: str, body: bytes) -> None:
        """The same, unless there is such an object already, as far as the service can tell."""
        with contextlib.suppress(AlreadyExistsError):
            await self._asked(
                lambda: obstore.put_async(
                    self._bucket, key, body, use_multipart=False, mode="create"
                )
            )

    async def copy(self, source: str, target: str) -> None:
        """Inside the service; raises `FileNotFoundError` if there is no source."""
        await self._asked(lambda: obstore.copy_async(self._bucket, source, target))

    async def delete(self, keys: list[str]) -> None:
        """Objects that are gone already are fine."""
        if keys:
            await self._asked(lambda: obstore.delete_async(self._bucket, keys))

    async def read(self, key: str) -> AsyncIterator[bytes]:
        """Piece by piece; raises `FileNotFoundError` at the first if there is no such object."""
        result = await self._asked(lambda: obstore.get_async(self._bucket, key))
        pieces = aiter(result.stream(min_chunk_size=_PIECE))
        with contextlib.suppress(StopAsyncIteration):
            while True:
                yield bytes(await self._asked(lambda: anext(pieces)))

    async def under(self, prefix: str) -> "list[ObjectMeta]":
        """The objects under a prefix that has few."""
        return [meta async for meta in self.every(prefix)]

    async def every(self, prefix: str) -> "AsyncIterator[ObjectMeta]":
        """The objects in the order of their keys, page by page. Each page is asked for anew:
        whoever reads this may take hours."""
        last: str | None = None
        while True:
            pages = aiter(obstore.list(self._bucket, prefix, offset=last, chunk_size=_PAGE))
            try:
                page = await self._asked(lambda: anext(pages))  # noqa: B023 (awaited at once)
            except StopAsyncIteration:
                return
            for meta in page:
                yield meta
            last = page[-1]["path"]

    async def _asked(
        self, request: Callable[[], Awaitable[_T]], seconds: float | None = None
    ) -> _T:
        try:
            async with asyncio.timeout(_SECONDS if seconds is None else seconds):
                return await request()
        except AlreadyExistsError:
            raise
        except (BaseError, OSError) as error:
            if isinstance(error, FileNotFoundError) and "NoSuchBucket" not in str(error):
                raise
            # The service's own words fill pages; the first line says what it was.
            log.warning("%s: %s", self._place, str(error).partition("\n")[0][:300])
            raise Unavailable(
                "the tracker's store does not answer at the moment", retry_after=_RETRY
            ) from error
