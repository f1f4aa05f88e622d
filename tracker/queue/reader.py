"""`QueueReader`: what the queue can be asked without changing it."""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from pydantic import ValidationError
from redis.asyncio import Redis

from laion_protocol import NotFound
from laion_protocol.messages import Receipt

from . import job_views, keys, replies
from .ids import JobRef, LeaseRef
from .paths import PathCache
from .permutation import Permutation
from .records import Chunk, Crawl, Credit, HeldLease, JobView, QueueStats, StaleLeases, Submission
from .scripts import Script


class QueueReader:
    """Reads the jobs of all crawls; `JobQueue` is one, and changes them too.

    Errors of `laion_protocol.errors` are raised for what the caller did; `redis.RedisError`
    passes through when Redis is away.

    Every method that takes a lease id raises `InvalidRequest` for something that is not one and
    `NotFound` for a crawl or job that does not exist. Those that take `account` besides check
    that the lease is this account's; another's lease is `NotFound`, as if it did not exist.
    """

    def __init__(self, redis: Redis) -> None:
        """Use `redis`, which must decode its answers; the caller closes it.

        Raises:
            ValueError: it was made without `decode_responses=True`.
        """
        if not redis.get_encoder().decode_responses:  # type: ignore[no-untyped-call]
            raise ValueError("the queue needs a Redis client with decode_responses=True")
        self._redis = redis
        self._paths = PathCache(redis)
        self._known: dict[str, Crawl] = {}  # for what never changes: files, parts, base

    async def crawls(self) -> tuple[Crawl, ...]:
        """All crawls, in the order in which they were added."""
        names = [str(name) for name in await self._redis.smembers(keys.CRAWLS)]
        async with self._redis.pipeline(transaction=False) as pipeline:
            for name in names:
                pipeline.hgetall(keys.meta(name))
            metas = await pipeline.execute()
        # one without meta is named, but its `add` is not through
        found = [self._learn(name, meta) for name, meta in zip(names, metas, strict=True) if meta]
        return tuple(sorted(found, key=lambda crawl: (crawl.added_at, crawl.name)))

    async def crawl(self, name: str) -> Crawl:
        """One crawl.

        Raises:
            NotFound: no such crawl.
        """
        meta = await self._redis.hgetall(keys.meta(name))
        if not meta:
            raise replies.no_crawl(name)
        return self._learn(name, cast(dict[str, str], meta))

    async def chunk(self, job: JobRef) -> Chunk:
        """What a job reads; the path list is cached.

        Raises:
            NotFound: no such crawl or job.
        """
        crawl = self._known.get(job.crawl) or await self.crawl(job.crawl)
        if not 0 <= job.index < crawl.jobs:
            raise NotFound(f"there is no job {job}")
        file_index, part = divmod(job.index, crawl.parts)
        path = await self._paths.path(job.crawl, file_index)
        source = f"{crawl.base.rstrip('/')}/{path}" if crawl.base else path
        return Chunk(path, source, part, crawl.parts)

    async def path(self, crawl: str, file_index: int) -> str:
        """One file of the crawl's list.

        Raises:
            NotFound: no such crawl, or fewer files.
        """
        return await self._paths.path(crawl, file_index)

    async def open_lease(self, lease_id: str, account: str) -> HeldLease:
        """The lease, if `complete` would take its shard now: ask before taking uploads.

        Raises:
            LeaseLost: `complete` would refuse it, or the shard was handed in already.
        """
        ref = LeaseRef.parse(lease_id)
        _, row = await self._run_for(_OPEN_LEASE, ref, account)
        return replies.to_lease(row, ref.job.crawl)

    async def receipt(self, lease_id: str, account: str) -> Receipt:
        """What became of a lease.

        Raises:
            LeaseLost: nothing is known of it (any more).
        """
        ref = LeaseRef.parse(lease_id)
        return replies.to_receipt(await self._run_for(_RECEIPT, ref, account), ref.job)

    async def held(self, account: str, worker: str) -> tuple[HeldLease, ...]:
        """What this worker holds, over all crawls; oldest lease first."""
        leases: list[HeldLease] = []
        for crawl in await self.crawls():
            _, _, rows = await self._run(_HELD, crawl.name, account, worker)
            leases += _to_leases(rows, crawl.name)
        return tuple(sorted(leases, key=lambda lease: lease.leased_at))

    async def verifying(self, crawl: str, limit: int) -> tuple[Submission, ...]:
        """Shards that wait or are being checked, next first; claims nothing.

        One whose manifest cannot be read is left out; `JobQueue.claim_verification` rejects it.

        Raises:
            NotFound: no such crawl.
        """
        _, rows = await self._run(_VERIFYING, crawl, limit)
        found = []
        for row in rows:
            with suppress(ValidationError):
                found.append(replies.to_submission(row, crawl))
        return tuple(found)

    async def is_kept(self, lease_id: str) -> bool:
        """Whether the tracker still needs what was uploaded under a lease, or may yet: the lease
        can still be completed, its shard is being verified or was accepted, or its intermediate
        is to be scored. What is of no crawl, or one that was removed, nobody needs.
        """
        ref = LeaseRef.parse(lease_id)
        try:
            _, kept = await self._run_for(_IS_KEPT, ref)
        except NotFound:
            return False
        return bool(kept)

    async def live(self, lease_ids: Iterable[str]) -> set[str]:
        """Those of these leases that may still bring what they are at work on: they hold a job
        that is leased or being verified, or their intermediate waits to be scored."""
        by_crawl: defaultdict[str, list[LeaseRef]] = defaultdict(list)
        for ref in map(LeaseRef.parse, lease_ids):
            by_crawl[ref.job.crawl].append(ref)
        live: set[str] = set()
        for crawl, refs in by_crawl.items():
            for start in range(0, len(refs), _LOOKED_AT):
                some = refs[start : start + _LOOKED_AT]
                args = [part for ref in some for part in (ref.job.index, ref.secret)]
                try:
                    _, flags = await self._run(_LIVE, crawl, *args)
                except NotFound:  # removed
                    break
                live.update(str(ref) for ref, flag in zip(some, flags, strict=True) if flag)
        return live

    async def stats(self, crawl: str, *, silent_for: timedelta) -> QueueStats:
        """The crawl's numbers; `stale` counts leases without a heartbeat for `silent_for`.

        Raises:
            NotFound: no such crawl.
        """
        reply = await self._run(_STATS, crawl, milliseconds(silent_for))
        return replies.to_stats(reply, crawl)

    async def stale(self, crawl: str, silent_for: timedelta, limit: int) -> StaleLeases:
        """Leases without a heartbeat for `silent_for`.

        Raises:
            NotFound: no such crawl.
        """
        _, total, rows = await self._run(_STALE, crawl, milliseconds(silent_for), limit)
        return StaleLeases(total, tuple(_to_leases(rows, crawl)))

    async def job(self, job: JobRef) -> JobView:
        """Everything about one job, also about one that was never leased.

        Raises:
            NotFound: no such crawl or job.
        """
        crawl = await self.crawl(job.crawl)
        chunk = await self.chunk(job)
        reply = replies.check(await _JOB(self._redis, keys.meta(job.crawl), job.index), job)
        turn = Permutation(crawl.jobs, crawl.seed).position(job.index)
        return job_views.to_job_view(reply, job, chunk, turn)

    async def accepted(self, crawl: str) -> AsyncIterator[str]:
        """The leases of all accepted shards, in no order, over many calls; what is accepted
        meanwhile may be missing, and a few may come twice."""
        cursor = 0
        while True:
            answer: Any = await self._redis.hscan(keys.finished(crawl), cursor, count=1000)
            cursor, found = answer
            for index, record in cast(dict[str, str], found).items():
                yield str(LeaseRef(JobRef(crawl, int(index)), record.partition(" ")[0]))
            if not cursor:
                return

    async def credits(self, crawl: str) -> dict[str, Credit]:
        """Credit by account; empty before the first accepted shard, or without such a crawl."""
        credits = await self._redis.hgetall(keys.credits(crawl))
        return replies.to_credits(cast(dict[str, str], credits))

    def _learn(self, name: str, meta: dict[str, str]) -> Crawl:
        crawl = replies.to_crawl(name, meta)
        known = self._known.get(name)
        if known is not None and known.added_at != crawl.added_at:
            self._paths.forget(name)  # it was removed, and another one added under its name
        self._known[name] = crawl
        return crawl

    async def _run(self, script: Script, crawl: str, *args: str | int) -> Any:
        """Run a script about a crawl."""
        return replies.check(await script(self._redis, keys.meta(crawl), *args), crawl)

    async def _run_for(self, script: Script, ref: LeaseRef, *args: str | int) -> Any:
        """Run a script about a lease."""
        key, job = keys.meta(ref.job.crawl), ref.job
        return replies.check(await script(self._redis, key, job.index, ref.secret, *args), ref)


def milliseconds(duration: timedelta) -> int:
    """A duration as scripts take it."""
    return duration // timedelta(milliseconds=1)


def to_milliseconds(time: datetime) -> int:
    """A time as scripts take it, by Redis's clock."""
    return milliseconds(time - _EPOCH)


def _to_leases(rows: Iterable[replies.Reply], crawl: str) -> Iterable[HeldLease]:
    return (replies.to_lease(row, crawl) for row in rows)


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OPEN_LEASE, _RECEIPT, _IS_KEPT = Script("open_lease"), Script("receipt"), Script("is_kept")
_HELD, _VERIFYING, _STALE = Script("held"), Script("verifying"), Script("stale")
_STATS, _JOB, _LIVE = Script("stats"), Script("job"), Script("live")
#: Leases in one script, which nothing else can interrupt.
_LOOKED_AT: Final = 250
