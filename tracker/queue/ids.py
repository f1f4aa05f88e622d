"""`JobRef` and `LeaseRef`: the names on the wire that say which crawl and job is meant."""

import re
import secrets
from dataclasses import dataclass
from typing import Final, Self

from laion_protocol import InvalidRequest

_CRAWL: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_JOB_ID: Final = re.compile(rf"({_CRAWL})/([0-9]{{1,12}})")
_LEASE_ID: Final = re.compile(rf"({_CRAWL})~([0-9]{{1,12}})~([0-9a-f]{{32}})")


@dataclass(slots=True, frozen=True)
class JobRef:
    """Job `index` of a crawl; on the wire `<crawl>/<index>`."""

    crawl: str
    index: int

    @classmethod
    def parse(cls, job_id: str) -> Self:
        """Read a `laion_protocol.messages.JobId`.

        Raises:
            InvalidRequest: it is none.
        """
        match = _JOB_ID.fullmatch(job_id)
        if match is None:
            raise InvalidRequest(f"{job_id[:100]!r} is not a job; name it as <crawl>/<number>")
        return cls(match[1], int(match[2]))

    def __str__(self) -> str:
        return f"{self.crawl}/{self.index}"


@dataclass(slots=True, frozen=True)
class LeaseRef:
    """One lease of a job; on the wire `<crawl>~<index>~<secret>`."""

    job: JobRef
    secret: str  #: 128 random bits, hex: the fencing token

    @classmethod
    def parse(cls, lease_id: str) -> Self:
        """Read a `laion_protocol.messages.LeaseId`.

        Raises:
            InvalidRequest: it is none.
        """
        match = _LEASE_ID.fullmatch(lease_id)
        if match is None:
            raise InvalidRequest(
                f"{lease_id[:120]!r} is not a lease; send the lease_id that the tracker gave"
            )
        return cls(JobRef(match[1], int(match[2])), match[3])

    def __str__(self) -> str:
        return f"{self.job.crawl}~{self.job.index}~{self.secret}"


def new_secret() -> str:
    """The part of a new lease id that nobody can guess."""
    return secrets.token_hex(16)
