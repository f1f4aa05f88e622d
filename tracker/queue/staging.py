"""`stage`: bring a new crawl's path list to Redis, where no reader sees it yet."""

import asyncio
import hashlib
import json
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from redis.asyncio import Redis

from laion_protocol import InvalidRequest
from laion_protocol.messages import NewCrawl

from . import keys
from .paths import check_paths, pack
from .records import RetryPolicy

MAX_JOBS: Final = 100_000_000  #: a crawl of 100,000 files in 1,000 parts each
_BATCH: Final = 50  #: blocks sent at once
_STAGED_FOR: Final = timedelta(hours=1)


@dataclass(slots=True, frozen=True)
class Staged:
    """A crawl whose path list lies ready for `add.lua`."""

    new: NewCrawl
    token: str
    blocks: int
    content: str  #: SHA-256 of all that makes the crawl what it is, but for its order

    @property
    def jobs(self) -> int:
        """One for each part of each file."""
        return len(self.new.paths) * self.new.parts

    def script_args(self, retry: RetryPolicy) -> list[str | int]:
        """ARGV of `add.lua`."""
        new = self.new
        meta: dict[str, str | int] = {
            "files": len(new.paths),
            "parts": new.parts,
            "total": self.jobs,
            "base": new.base,
            "seed": secrets.randbelow(2**31) if new.seed is None else new.seed,
            "recipe": new.recipe.model_dump_json(),
            "recipe_sha256": new.recipe.sha256,
            "max_attempts": retry.max_attempts,
            "min_accounts": retry.min_accounts,
            "max_leases": retry.max_leases,
            "delay_ms": retry.delay // timedelta(milliseconds=1),
            "max_delay_ms": retry.max_delay // timedelta(milliseconds=1),
        }
        asked_seed = "" if new.seed is None else str(new.seed)
        fields = [part for item in meta.items() for part in item]
        return [self.token, self.blocks, self.content, asked_seed, *fields]


async def stage(redis: Redis, new: NewCrawl) -> Staged:
    """Write the path list under a key of its own, which vanishes after an hour if not used.

    Raises:
        InvalidRequest: a path with a control character, or more than 100 M jobs.
    """
    if len(new.paths) * new.parts > MAX_JOBS:
        raise InvalidRequest(
            f"{len(new.paths)} files of {new.parts} parts are over {MAX_JOBS} jobs"
        )
    # megabytes to check, hash and compress: not in the event loop
    blocks, content = await asyncio.to_thread(_prepare, new)
    token = secrets.token_hex(8)
    key = keys.staged(new.name, token)
    for start in range(0, len(blocks), _BATCH):
        async with redis.pipeline(transaction=True) as pipeline:
            pipeline.hset(key, mapping=dict(blocks[start : start + _BATCH]))
            pipeline.expire(key, _STAGED_FOR)
            await pipeline.execute()
    return Staged(new, token, len(blocks), content)


def _prepare(new: NewCrawl) -> tuple[list[tuple[int, str]], str]:
    check_paths(new.paths)
    content = [new.base, new.parts, new.recipe.sha256, new.paths]
    if new.max_attempts or new.min_accounts:
        content.append([new.max_attempts, new.min_accounts])
    return list(pack(new.paths)), hashlib.sha256(json.dumps(content).encode()).hexdigest()
