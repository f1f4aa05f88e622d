"""What an admin, and the bot that acts for one, ask of the tracker."""

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, AwareDatetime, Field, field_validator

from laion_protocol.message import Message
from laion_protocol.recipe import IMAGE_FORMATS, Recipe
from laion_protocol.states import CrawlState, Role, Scope, WorkerState

from .names import JobId, Name, Reason
from .work import Progress


def _readable(base: str) -> str:
    if "://" not in base:
        return base
    try:
        parts = urlsplit(base)
        good = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        good = False
    if not good or any(letter.isspace() or not letter.isprintable() for letter in base):
        raise ValueError("give a directory, or an http or https URL with a host and no blanks")
    if "@" in parts.netloc:
        raise ValueError("every worker reads the base; it must not hold a user or password")
    return base


#: What workers can read from: an URL, or a directory that they share with the tracker.
CrawlBase = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_readable)]


class NewCrawl(Message):
    """`POST /v1/admin/crawls`. `paths` are the files, relative to `base`."""

    name: Name
    base: CrawlBase = Field(description="URL prefix or directory of the files")
    paths: tuple[Annotated[str, Field(min_length=1, max_length=1024)], ...] = Field(min_length=1)
    parts: int = Field(default=1, ge=1, le=10_000, description="chunks per file")
    recipe: Recipe
    seed: int | None = Field(
        default=None, ge=0, lt=2**31, description="of the order; random by default"
    )
    max_attempts: int | None = Field(
        default=None, ge=1, le=20, description="that count, until a job is dead; 5 by default"
    )
    min_accounts: int | None = Field(
        default=None, ge=1, le=20, description="that spent them, until a job is dead; 3 by default"
    )

    @field_validator("recipe")
    @classmethod
    def _keeps_something(cls, recipe: Recipe) -> Recipe:
        for name in recipe.formats:
            if name not in IMAGE_FORMATS:
                known = ", ".join(IMAGE_FORMATS)
                raise ValueError(f"no worker decodes the format {name!r}; there are {known}")
        if not recipe.formats:
            raise ValueError("formats: a crawl without any would keep nothing")
        for least, most in (
            ("min_text_chars", "max_text_chars"),
            ("min_image_bytes", "max_image_bytes"),
        ):
            if getattr(recipe, least) > getattr(recipe, most):
                raise ValueError(f"{least} over {most}: such a crawl would keep nothing")
        return recipe

    @field_validator("paths")
    @classmethod
    def _each_once_and_inside(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        seen: set[str] = set()
        for path in paths:
            if path in seen:
                raise ValueError(f"{path!r} is listed twice; its samples would be in twice")
            if path.startswith("/") or ".." in path.split("/"):
                raise ValueError(f"{path!r} leads out of the base; give a path inside it")
            seen.add(path)
        return paths


class CrawlAdded(Message):
    """What `add` made."""

    name: str
    jobs: int
    recipe_sha256: str


class CrawlStateAnswer(Message):
    """`POST /v1/admin/crawls/{name}/drain | finish`: how the crawl stands now."""

    name: str
    state: CrawlState


class NewAccount(Message):
    """`POST /v1/admin/accounts`."""

    name: Name
    role: Role = Role.VOLUNTEER
    discord_id: str | None = Field(default=None, pattern=r"^\d{1,20}$")


class AccountAdded(Message):
    """A new account and its token, which is shown this once."""

    name: str
    role: Role
    token: str


class AccountRow(Message):
    """One account, without its token."""

    name: str
    role: Role
    discord_id: str | None
    created: AwareDatetime
    revoked: bool
    state: WorkerState = Field(default=WorkerState.ACTIVE, description="of all its workers")
    reason: str = ""
    until: AwareDatetime | None = None


class Accounts(Message):
    """`GET /v1/admin/accounts`, by name."""

    rows: tuple[AccountRow, ...]


class AuditRow(Message):
    """One admin call or refusal."""

    time: AwareDatetime
    actor: str = Field(description="the account whose rights were used")
    via: str = Field(default="", description="the bot that acted for it")
    action: str
    target: str
    reason: str = ""
    result: str = Field(description="`ok`, `dry_run`, or the code of the refusal")
    id: str = Field(default="", description="of the row, rising; `before` takes it")
    before: Any = Field(default=None, description="JSON: what the action changed, as it was")
    after: Any = Field(default=None, description="JSON: as it is now")
    key: str = Field(default="", description="the caller's Idempotency-Key")


class AuditLog(Message):
    """`GET /v1/admin/audit`, newest first."""

    rows: tuple[AuditRow, ...]


class OpenJob(Message):
    """A job that somebody holds, for an admin to look at."""

    job: JobId
    source: str
    part: int
    account: str
    worker: str
    attempt: int
    leased_at: AwareDatetime
    last_heartbeat: AwareDatetime
    deadline: AwareDatetime
    progress: Progress


class StaleJobs(Message):
    """`GET /v1/admin/jobs/stale`: silent longest first; `total` may exceed what is listed."""

    total: int
    jobs: tuple[OpenJob, ...]


class Requeue(Message):
    """`POST /v1/admin/jobs/requeue`: take jobs away from their workers, or dead ones back."""

    jobs: tuple[JobId, ...] = Field(min_length=1, max_length=1000)
    reason: Reason
    dry_run: bool = False
    silent_since: AwareDatetime | None = Field(
        default=None,
        description="leave a leased job alone if it had a heartbeat after this time: what the "
        "admin saw as stale may have come back meanwhile",
    )


class Requeued(Message):
    """What became of each job; `unchanged`: pending or done; `alive`: it beat meanwhile."""

    dry_run: bool
    jobs: dict[JobId, Literal["requeued", "unchanged", "alive", "unknown"]]
    action: str = Field(
        default="", description="to undo it, within a day; empty if nothing changed"
    )


class DelegationRequest(Message):
    """`POST /v1/delegations`: the bot acts for a person, for one minute."""

    discord_id: str = Field(pattern=r"^\d{1,20}$")
    interaction_id: str = Field(pattern=r"^\d{1,20}$", description="for the audit log")
    scopes: tuple[Scope, ...] | None = Field(
        default=None, min_length=1, max_length=len(Scope), description="no more than these"
    )


class Delegation(Message):
    """A token with that person's rights, for `expires_in` seconds."""

    token: str
    account: str
    expires_in: int
