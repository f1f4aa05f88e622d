"""`Leasing`: who gets a job, and why somebody gets none."""

import random
from datetime import timedelta
from typing import Final

from laion_protocol import CrawlState, IdleReason, InvalidRequest, Manifest, NotFound
from laion_protocol.messages import Idle, Lease, LeaseAnswer

from .queue import Chunk, Crawl, HeldLease, JobQueue
from .settings import Settings
from .stats import Statistics
from .storage import ShardStore

_MESSAGES: Final = {
    IdleReason.NO_WORK: "every job is leased, being verified or done",
    IdleReason.PAUSED: "an admin paused the project",
    IdleReason.STORAGE_FULL: "the tracker has no room for another shard",
    IdleReason.VERIFICATION_BACKLOG: "shards come in faster than the tracker checks them",
    IdleReason.QUOTA: "this worker holds as many leases as one may; finish or release one",
}
#: Room and backlog change slowly; asking sooner helps nobody (times `idle_retry`).
_PATIENCE: Final = {IdleReason.STORAGE_FULL: 10, IdleReason.PAUSED: 4}


class Leasing:
    """Hands out leases over all crawls, unless the tracker has too much on its hands."""

    def __init__(
        self, queue: JobQueue, store: ShardStore, statistics: Statistics, settings: Settings
    ) -> None:
        self._queue = queue
        self._store = store
        self._statistics = statistics
        self._settings = settings

    async def lease(self, account: str, worker: str) -> LeaseAnswer:
        """A job for this worker, or the one true reason why there is none."""
        reason = await self._overload()
        if reason is None:
            answer = await self._from_any_crawl(account, worker)
            if not isinstance(answer, IdleReason):
                return LeaseAnswer(lease=answer)
            reason = answer
        return LeaseAnswer(idle=self._idle(reason))

    async def describe(self, held: HeldLease) -> Lease:
        """The lease as the worker is told it."""
        crawl = await self._queue.crawl(held.job.crawl)
        return self._describe(held, crawl, await self._queue.chunk(held.job))

    async def check_manifest(self, held: HeldLease, manifest: Manifest) -> None:
        """Refuse a manifest that is about another recipe, or another chunk, than the lease.

        Raises:
            InvalidRequest: naming the field.
        """
        crawl = await self._queue.crawl(held.job.crawl)
        chunk = await self._queue.chunk(held.job)
        if manifest.recipe_sha256 != crawl.recipe_sha256:
            raise InvalidRequest(
                f"recipe_sha256: the crawl's recipe is {crawl.recipe_sha256}; the shard was made "
                "by another one"
            )
        source = manifest.source
        if (source.part, source.parts) != (chunk.part, chunk.parts):
            raise InvalidRequest(
                f"source: the job is part {chunk.part} of {chunk.parts}, not part {source.part} "
                f"of {source.parts}"
            )
        if source.path not in (chunk.path, chunk.source):
            raise InvalidRequest(f"source.path: the job reads {chunk.path!r}, not another file")

    async def _overload(self) -> IdleReason | None:
        if await self._store.free_bytes() < self._settings.min_free_bytes:
            return IdleReason.STORAGE_FULL
        if await self._statistics.backlog() > self._settings.max_backlog:
            return IdleReason.VERIFICATION_BACKLOG
        return None

    async def _from_any_crawl(self, account: str, worker: str) -> Lease | IdleReason:
        crawls = list(await self._queue.crawls())
        random.shuffle(crawls)  # each crawl gets its share of the workers
        reasons = set()
        for crawl in crawls:
            if crawl.state is CrawlState.PAUSED:
                reasons.add(IdleReason.PAUSED)
                continue
            try:
                held = await self._queue.lease(crawl.name, account, worker)
            except NotFound:  # removed meanwhile
                continue
            if isinstance(held, HeldLease):
                return self._describe(held, crawl, await self._queue.chunk(held.job))
            reasons.add(held)
        # The reason that the volunteer can do something about comes first.
        for reason in (IdleReason.QUOTA, IdleReason.NO_WORK, IdleReason.PAUSED):
            if reason in reasons:
                return reason
        return IdleReason.NO_WORK

    def _describe(self, held: HeldLease, crawl: Crawl, chunk: Chunk) -> Lease:
        return Lease(
            lease_id=held.lease_id,
            job=str(held.job),
            source=chunk.source,
            part=chunk.part,
            parts=chunk.parts,
            recipe=crawl.recipe,
            recipe_sha256=crawl.recipe_sha256,
            attempt=held.attempt,
            deadline=held.deadline,
            heartbeat_seconds=self._settings.heartbeat.total_seconds(),
        )

    def _idle(self, reason: IdleReason) -> Idle:
        wait = self._settings.idle_retry * _PATIENCE.get(reason, 1)
        return Idle(reason=reason, message=_MESSAGES[reason], retry_after=_jittered(wait))


def _jittered(wait: timedelta) -> float:
    """Spread over half to one and a half of it, or a fleet that was sent away together comes
    back together."""
    return wait.total_seconds() * random.uniform(0.5, 1.5)
