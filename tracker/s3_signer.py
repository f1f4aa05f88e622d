"""`S3Signer`: URLs that let a worker send or read one object, and nothing else, for a while.

obstore signs the host alone. What a worker may send must be bound too, so botocore's signer does
it: a signed header is one that has to come, and with that value.
"""

import base64
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Self
from urllib.parse import quote, urlsplit

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.session import get_session

from .shard_store import Slot

_URL: Final = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/([A-Za-z0-9._/-]*))?")
#: The service compares the first with the body. The second it keeps beside the file, and tells it
#: when it is asked: one request cannot have the one without the other.
_CHECKSUM: Final = "x-amz-checksum-sha256"
_NOTE: Final = "x-amz-meta-sha256"


class BadStoreURL(ValueError):
    """The operator named a store that cannot be one; the message says why."""


class NoCredentials(Exception):
    """The environment has no key for the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Place:
    """A bucket, or a part of one, of an S3 service."""

    bucket: str
    prefix: str  #: of every key: empty, or with a slash at its end
    endpoint: str  #: without a slash at its end
    region: str

    @classmethod
    def parse(
        cls, url: str, endpoint: str = "", environment: Mapping[str, str] = os.environ
    ) -> Self:
        """Read `s3://bucket[/prefix]`. Without an endpoint it is Amazon's; the region is
        `AWS_REGION` or `AWS_DEFAULT_REGION`, else us-east-1, which most other services take.

        Raises:
            BadStoreURL: it is none.
        """
        found = _URL.fullmatch(url)
        prefix = (found[2] or "").strip("/") if found else ""
        if found is None or any(part in ("", ".", "..") for part in prefix.split("/") if prefix):
            raise BadStoreURL(
                f"--store {url!r} is not s3://BUCKET or s3://BUCKET/PREFIX; a bucket's name has 3 "
                "to 63 lower-case letters, digits, dots and dashes, a prefix no empty part"
            )
        region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or ""
        region = region or "us-east-1"
        if endpoint:
            parts = urlsplit(endpoint)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
                # without what may be a key in it
                shown = endpoint.rpartition("@")[2].partition("?")[0]
                raise BadStoreURL(
                    f"--s3-endpoint {shown!r} is no URL of a service; it has a scheme and a host, "
                    "and no path, like https://s3.example.org"
                )
            if parts.username is not None or parts.query:
                raise BadStoreURL(
                    "--s3-endpoint holds a key; keys come from AWS_ACCESS_KEY_ID and "
                    "AWS_SECRET_ACCESS_KEY"
                )
        return cls(
            bucket=found[1],
            prefix=f"{prefix}/" if prefix else "",
            endpoint=endpoint.rstrip("/") or f"https://s3.{region}.amazonaws.com",
            region=region,
        )

    def __str__(self) -> str:
        return f"{self.endpoint}/{self.bucket}/{self.prefix}".rstrip("/")


def find_credentials() -> Credentials:
    """The key of this machine, where Amazon's own tools find it: the environment
    (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`), `~/.aws`, or the machine's role, which renews
    itself.

    Raises:
        NoCredentials: there is none.
    """
    credentials = get_session().get_credentials()
    if credentials is None:
        raise NoCredentials(
            "there is no key for --store; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    return credentials


class S3Signer:
    """Signs for one place. Keys are relative to it."""

    def __init__(self, place: S3Place, credentials: Credentials) -> None:
        self._place = place
        self._credentials = credentials

    def put(self, key: str, *, size: int, sha256: str, lifetime: timedelta) -> Slot:
        """Where a file goes that has this size (bytes) and SHA-256. The size is a header that
        every HTTP client sends by itself."""
        headers = {
            _CHECKSUM: base64.b64encode(bytes.fromhex(sha256)).decode(),
            _NOTE: sha256,
            "Content-Type": "application/octet-stream",
        }
        bound = {**headers, "Content-Length": str(size)}
        return Slot(self._signed("PUT", key, bound, lifetime), headers)

    def get(self, key: str, *, lifetime: timedelta) -> str:
        """Where a file is read."""
        return self._signed("GET", key, {}, lifetime)

    def _signed(self, method: str, key: str, headers: dict[str, str], lifetime: timedelta) -> str:
        place = self._place
        # The bucket in the path, not in the host: that works with every service and every name.
        path = quote(f"/{place.bucket}/{place.prefix}{key}")
        request = AWSRequest(method, f"{place.endpoint}{path}", headers=headers)
        signer = S3SigV4QueryAuth(
            self._credentials.get_frozen_credentials(), "s3", place.region,
            expires=int(lifetime.total_seconds()),
        )  # fmt: skip
        signer.add_auth(request)
        return str(request.url)
