"""What the tracker may refuse. The same exception on both sides of the wire: the tracker raises
it, the body carries its code, `TrackerClient` raises it again. Named by what the caller must do.

TrackerError
├── AuthorizationPending 400 authorization_pending  nobody approved the code yet; ask again
├── SlowDown          400 slow_down           asked too soon; wait longer between two questions
├── AccessDenied      400 access_denied       a person said no; start over only if they want
├── CodeExpired       400 expired_token       the code is too old; start over
├── Unauthorized      401 unauthorized        stop; the token is wrong or revoked
├── Forbidden         403 forbidden           stop; this account may not do that
├── NotFound          404 not_found           the thing named does not exist
├── LeaseLost         409 lease_lost          drop the job; somebody else has it
├── Conflict          409 conflict            it is there already, and different
├── InvalidRequest    422 invalid_request     fix the request; sending it again is pointless
├── UploadMismatch    422 upload_mismatch     send again; what arrived was not what was announced
├── TooLarge          413 too_large           never send this; it is over the bound
├── RateLimited       429 rate_limited        wait `retry_after`, then try again
├── StorageFull       507 storage_full        keep the shard, try again later
└── Unavailable       503 unavailable         wait `retry_after`, then try again
"""

from enum import StrEnum
from http import HTTPStatus
from typing import ClassVar

from .message import Message


class ErrorCode(StrEnum):
    """The machine-readable half of an error body."""

    AUTHORIZATION_PENDING = "authorization_pending"
    SLOW_DOWN = "slow_down"
    ACCESS_DENIED = "access_denied"
    EXPIRED_TOKEN = "expired_token"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    LEASE_LOST = "lease_lost"
    CONFLICT = "conflict"
    INVALID_REQUEST = "invalid_request"
    UPLOAD_MISMATCH = "upload_mismatch"
    TOO_LARGE = "too_large"
    RATE_LIMITED = "rate_limited"
    STORAGE_FULL = "storage_full"
    UNAVAILABLE = "unavailable"


class ErrorBody(Message):
    """The body of every answer that is not a success."""

    error: ErrorCode
    message: str
    retry_after: float | None = None


class TrackerError(Exception):
    """Base of every refusal; raise a subclass, with a sentence that says what and what next."""

    code: ClassVar[ErrorCode]
    status: ClassVar[HTTPStatus]

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    def to_body(self) -> ErrorBody:
        """The JSON body that carries this refusal."""
        return ErrorBody(error=self.code, message=str(self), retry_after=self.retry_after)


class AuthorizationPending(TrackerError):
    """Nobody has approved the device code yet (RFC 8628, 3.5)."""

    code, status = ErrorCode.AUTHORIZATION_PENDING, HTTPStatus.BAD_REQUEST


class SlowDown(TrackerError):
    """As pending, and asked too soon: wait five seconds longer from now on (RFC 8628, 3.5)."""

    code, status = ErrorCode.SLOW_DOWN, HTTPStatus.BAD_REQUEST


class AccessDenied(TrackerError):
    """A person refused the device code (RFC 8628, 3.5)."""

    code, status = ErrorCode.ACCESS_DENIED, HTTPStatus.BAD_REQUEST


class CodeExpired(TrackerError):
    """The device code is over, or was used (RFC 8628, 3.5)."""

    code, status = ErrorCode.EXPIRED_TOKEN, HTTPStatus.BAD_REQUEST


class Unauthorized(TrackerError):
    """No token, or one that is unknown or revoked."""

    code, status = ErrorCode.UNAUTHORIZED, HTTPStatus.UNAUTHORIZED


class Forbidden(TrackerError):
    """A known account without the right to do this."""

    code, status = ErrorCode.FORBIDDEN, HTTPStatus.FORBIDDEN


class NotFound(TrackerError):
    """No such crawl, job, lease or file."""

    code, status = ErrorCode.NOT_FOUND, HTTPStatus.NOT_FOUND


class LeaseLost(TrackerError):
    """The lease expired or was taken over; the worker should drop the job."""

    code, status = ErrorCode.LEASE_LOST, HTTPStatus.CONFLICT


class Conflict(TrackerError):
    """The name is taken by something else."""

    code, status = ErrorCode.CONFLICT, HTTPStatus.CONFLICT


class InvalidRequest(TrackerError):
    """A field is missing or out of bounds; the message names it."""

    code, status = ErrorCode.INVALID_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY


class UploadMismatch(TrackerError):
    """Size or SHA-256 of what arrived is not what was announced; nothing was kept."""

    code, status = ErrorCode.UPLOAD_MISMATCH, HTTPStatus.UNPROCESSABLE_ENTITY


class TooLarge(TrackerError):
    """More bytes than the tracker takes in one request."""

    code, status = ErrorCode.TOO_LARGE, HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class RateLimited(TrackerError):
    """More calls than one token or address may make; `retry_after` says when to go on."""

    code, status = ErrorCode.RATE_LIMITED, HTTPStatus.TOO_MANY_REQUESTS


class StorageFull(TrackerError):
    """No room for this file now; nothing was kept."""

    code, status = ErrorCode.STORAGE_FULL, HTTPStatus.INSUFFICIENT_STORAGE


class Unavailable(TrackerError):
    """Something that the tracker needs is away for a moment; also raised by the client when the
    tracker cannot be reached within its patience."""

    code, status = ErrorCode.UNAVAILABLE, HTTPStatus.SERVICE_UNAVAILABLE


def error_from(body: ErrorBody) -> TrackerError:
    """What the tracker raised, for its client to raise again."""
    return _BY_CODE[body.error](body.message, retry_after=body.retry_after)


_BY_CODE = {error.code: error for error in TrackerError.__subclasses__()}
