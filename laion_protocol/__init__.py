"""The wire contract between the tracker, its workers and the bot.

Imports nothing of ours and nothing heavier than pydantic; `laion_protocol.client`, which speaks
HTTP, is imported by name.
"""

from .drops import Damage, DropReason
from .errors import (
    AccessDenied,
    AuthorizationPending,
    CodeExpired,
    Conflict,
    ErrorBody,
    ErrorCode,
    Forbidden,
    InvalidRequest,
    LeaseLost,
    NotFound,
    RateLimited,
    SlowDown,
    StorageFull,
    TooLarge,
    TrackerError,
    Unauthorized,
    Unavailable,
    UploadMismatch,
    error_from,
)
from .manifest import Counts, FileEntry, Manifest, SourceDigest
from .recipe import PRODUCTION_MODEL, ModelSpec, Recipe
from .states import (
    CrawlState,
    FailureClass,
    IdleReason,
    JobState,
    Outcome,
    Role,
    Scope,
    SourceKind,
    Stage,
    WorkerState,
)

PROTOCOL_VERSION = 1

__all__ = [
    "PRODUCTION_MODEL",
    "PROTOCOL_VERSION",
    "AccessDenied",
    "AuthorizationPending",
    "CodeExpired",
    "Conflict",
    "Counts",
    "CrawlState",
    "Damage",
    "DropReason",
    "ErrorBody",
    "ErrorCode",
    "FailureClass",
    "FileEntry",
    "Forbidden",
    "IdleReason",
    "InvalidRequest",
    "JobState",
    "LeaseLost",
    "Manifest",
    "ModelSpec",
    "NotFound",
    "Outcome",
    "RateLimited",
    "Recipe",
    "Role",
    "Scope",
    "SlowDown",
    "SourceDigest",
    "SourceKind",
    "Stage",
    "StorageFull",
    "TooLarge",
    "TrackerError",
    "Unauthorized",
    "Unavailable",
    "UploadMismatch",
    "WorkerState",
    "error_from",
]
