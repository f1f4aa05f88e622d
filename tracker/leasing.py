"""`Leasing`: hands out jobs, over all crawls."""

import asyncio
import random
import time
from typing import Final

from laion_protocol import CrawlState, IdleReason, InvalidRequest, Manifest, NotFound, Stage
from laion_protocol.messages import Idle, Lease, LeaseAnswer

from .admission import Admission, Ask
from .inputs import inputs_of
from .meter import Meter
from .model_sides import ModelSides
from .project import Project
from .queue import Chunk, Crawl, HeldLease, JobQueue
from .settings import Settings
from .shard_store import ShardStore

#: How old the list of crawls may be while it yields jobs, seconds.
_FRESH: Final = 1.0
#: Why a crawl that is not active hands out nothing. One that is finished is no reason to wait.
_CLOSED: Final = {CrawlState.PAUSED: IdleReason.PAUSED, CrawlState.DRAINING: IdleReason.DRAINING}
#: Of several crawls' reasons this one is told. A crawl that is open comes before one that is not:
#: there will be work again.
_ORDER: Final = (IdleReason.QUOTA, IdleReason.NO_WORK, IdleReason.PAUSED, IdleReason.DRAINING)


class Leasing:
    """Gives a worker a job of some crawl, or the reason why there is none."""

    def __init__(
        self,
        queue: JobQueue,
        store: ShardStore,
        admission: Admission,
        project: Project,
        meter: Meter,
        sides: ModelSides,
        settings: Settings,
    ) -> None:
        self._queue = queue
        self._store = store
        self._admission = admission
        self._project = project
        self._meter = meter
        self._sides = sides
        self._settings = settings
        self._lock = asyncio.Lock()
        self._crawls: tuple[Crawl, ...] = ()
        self._read_at = -_FRESH

    async def lease(self, ask: Ask) -> LeaseAnswer:
        """A job for this worker, or the one true reason why there is none."""
        found = await self._find(ask)
        self._meter.count("leases", "leased" if isinstance(found, Lease) else found.reason)
        return LeaseAnswer(
            lease=found if isinstance(found, Lease) else None,
            idle=found if isinstance(found, Idle) else None,
            announcements=(await self._project.state()).announcements,
            notice=await self._admission.notice(ask),
        )

    async def describe(self, held: HeldLease) -> Lease:
        """The lease as the worker is told it."""
        crawl = await self._crawl(held.job.crawl)
        return self._describe(held, crawl, await self._queue.chunk(held.job))

    async def check_manifest(self, held: HeldLease, manifest: Manifest) -> None:
        """Refuse a manifest that is about another recipe, chunk or stage than the lease.

        Raises:
            InvalidRequest: naming the field.
        """
        crawl = await self._crawl(held.job.crawl)
        chunk = await self._queue.chunk(held.job)
        if manifest.recipe_sha256 != crawl.recipe_sha256:
            raise InvalidRequest(
                f"recipe_sha256: the crawl's recipe is {crawl.recipe_sha256}; the shard was made "
                "by another one"
            )
        if manifest.stage is not held.stage:
            raise InvalidRequest(
                f"stage: the lease is for {held.stage}, the manifest is of {manifest.stage}"
            )
        source = manifest.source
        if (source.part, source.parts) != (chunk.part, chunk.parts):
            raise InvalidRequest(
                f"source: the job is part {chunk.part} of {chunk.parts}, not part {source.part} "
                f"of {source.parts}"
            )
        if source.path not in (chunk.path, chunk.source):
            raise InvalidRequest(f"source.path: the job reads {chunk.path!r}, not another file")

    async def _find(self, ask: Ask) -> Lease | Idle:
        names = [crawl.name for crawl in await self._known_crawls(_FRESH)]
        idle = await self._admission.refusal(ask, names)
        if idle is not None:
            return idle
        short = await self._admission.room()
        stages = ask.stages if short is None else ask.stages & {Stage.SCORE}
        found = await self._from_any_crawl(ask, stages)
        if isinstance(found, Lease):
            return found
        if found is IdleReason.NO_WORK and stages != ask.stages and short is not None:
            found = short  # there may be work, but none that can be taken in
        text = None
        if found is IdleReason.NO_WORK:
            text = await self._why_no_work(stages)
        return self._admission.idle(found, text)

    async def _why_no_work(self, stages: frozenset[Stage]) -> str | None:
        if stages == {Stage.SCORE}:
            return "nothing waits to be scored"
        closed = [
            crawl.name
            for crawl in await self._known_crawls(_FRESH)
            if crawl.state is CrawlState.ACTIVE and await self._open_to(crawl, stages) != stages
        ]
        if not closed:
            return None
        return (
            f"nobody can fetch for {', '.join(closed)}: the tracker does not know how large the "
            "pictures of its model are; there may be work with --stages hybrid"
        )

    async def _open_to(self, crawl: Crawl, stages: frozenset[Stage]) -> frozenset[Stage]:
        """Those of `stages` that can be done in this crawl: an intermediate can be made and checked
        only if the side of the model's pictures is known."""
        if Stage.FETCH not in stages or Stage.HYBRID in stages:
            return stages  # who does both fetches for nobody
        known = await self._sides.is_known(crawl.recipe.model)
        return stages if known else stages - {Stage.FETCH}

    async def _from_any_crawl(self, ask: Ask, stages: frozenset[Stage]) -> Lease | IdleReason:
        """With no `stages` no job is given, but the reason is true all the same."""
        reasons: dict[str, tuple[bool, IdleReason]] = {}  # by crawl; and whether the queue said so
        for age in (_FRESH, 0.0):  # nobody is sent away for what was true a second ago
            crawls = list(await self._known_crawls(age))
            random.shuffle(crawls)  # each crawl gets its share of the workers
            for crawl in crawls:
                if crawl.state is CrawlState.FINISHED:
                    reasons.pop(crawl.name, None)
                    continue
                if reasons.get(crawl.name, (False,))[0]:
                    continue
                if crawl.state in _CLOSED:
                    reasons[crawl.name] = False, _CLOSED[crawl.state]
                    continue
                try:
                    able = await self._open_to(crawl, stages)
                    held = await self._queue.lease(crawl.name, ask.account, ask.worker, able)
                except NotFound:  # removed meanwhile
                    continue
                if isinstance(held, HeldLease):
                    return self._describe(held, crawl, await self._queue.chunk(held.job))
                reasons[crawl.name] = True, held
        told = {reason for _, reason in reasons.values()}
        return next((reason for reason in _ORDER if reason in told), IdleReason.NO_WORK)

    async def _known_crawls(self, age: float) -> tuple[Crawl, ...]:
        """At most `age` seconds old; many who ask at once are answered by one reading."""
        asked_at = time.monotonic()
        if asked_at - self._read_at > age:
            async with self._lock:
                if asked_at - self._read_at > age:
                    began_at = time.monotonic()
                    self._crawls, self._read_at = await self._queue.crawls(), began_at
        return self._crawls

    async def _crawl(self, name: str) -> Crawl:
        for crawl in await self._known_crawls(_FRESH):
            if crawl.name == name:
                return crawl
        return await self._queue.crawl(name)

    def _describe(self, held: HeldLease, crawl: Crawl, chunk: Chunk) -> Lease:
        return Lease(
            lease_id=held.lease_id,
            job=str(held.job),
            source=chunk.source,
            part=chunk.part,
            parts=chunk.parts,
            recipe=crawl.recipe,
            recipe_sha256=crawl.recipe_sha256,
            stage=held.stage,
            inputs=inputs_of(held, self._store),
            fetched=held.fetched.manifest if held.fetched else None,
            attempt=held.attempt,
            deadline=held.deadline,
            heartbeat_seconds=self._settings.heartbeat.total_seconds(),
        )
