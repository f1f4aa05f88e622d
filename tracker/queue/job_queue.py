"""`JobQueue`: every change of a job's state, each one a single atomic script."""

import logging
import re
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic import ValidationError
from redis.asyncio import Redis

from laion_protocol import (
    Conflict,
    Counts,
    CrawlState,
    FailureClass,
    IdleReason,
    InvalidRequest,
    LeaseLost,
    Manifest,
    NotFound,
    Unavailable,
)
from laion_protocol.messages import CrawlAdded, NewCrawl, Progress, Receipt

from . import keys, replies
from .ids import JobRef, LeaseRef, new_secret
from .reader import QueueReader, milliseconds
from .records import Extended, HeldLease, RetryPolicy, Submission, Verdict
from .scripts import Script
from .staging import stage

log = logging.getLogger(__name__)

_MAX_COUNT: Final = 10**9  #: of one shard; Redis's counters (2**63) hold those of 10**8 such jobs
_MAX_MESSAGE: Final = 500  #: characters, as `laion_protocol.messages.Reason`
_REQUEUED_AT_ONCE: Final = 1_000  #: jobs in one script, which nothing else can interrupt
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  #: `laion_protocol.messages.Name`


class JobQueue(QueueReader):
    """The jobs of all crawls. Safe to use from many tasks and many processes at once."""

    def __init__(
        self,
        redis: Redis,
        *,
        lease_duration: timedelta = timedelta(minutes=5),
        max_held: int = 8,
        retry: RetryPolicy | None = None,
        outage_after: timedelta = timedelta(minutes=2),
    ) -> None:
        """Use `redis`, which must have been made with `decode_responses=True`.

        Args:
            redis: the client; the caller closes it.
            lease_duration: how long a lease lasts after its last heartbeat; about five beats.
            max_held: leases that one worker may hold in one crawl at a time.
            retry: for crawls added by this queue; kept with the crawl.
            outage_after: when `reap` was not called for so long, the tracker was away, and all
                leases are extended by that time instead of being reaped.
        """
        super().__init__(redis)
        self._lease_ms = milliseconds(lease_duration)
        self._max_held = max_held
        self._retry = retry or RetryPolicy()
        self._outage_ms = milliseconds(outage_after)

    # ── crawls ───────────────────────────────────────────────────────────────────────────────

    async def add(self, new: NewCrawl) -> CrawlAdded:
        """Add a crawl; adding the same again changes nothing and gives the same answer.

        Raises:
            Conflict: the name is taken by a crawl of other files, parts, recipe or given seed.
            InvalidRequest: a path with a control character, or more than 100 M jobs.
            Unavailable: staging the path list took over an hour; send it again.
        """
        staged = await stage(self._redis, new)
        # listed before it is visible: a crash in between hides nothing that exists
        await self._redis.sadd(keys.CRAWLS, new.name)
        reply = await _ADD(self._redis, keys.meta(new.name), *staged.script_args(self._retry))
        if reply[0] == "conflict":
            raise Conflict(f"there is another crawl {new.name!r} already; choose another name")
        if reply[0] == "unstaged":
            raise Unavailable(f"the path list of {new.name!r} came too slowly; add it again")
        return CrawlAdded(name=new.name, jobs=staged.jobs, recipe_sha256=new.recipe.sha256)

    async def pause(self, name: str) -> None:
        """Hand out no more jobs of this crawl; what is leased may be finished. Safe to repeat.

        Raises:
            NotFound: no such crawl.
        """
        await self._run(_SET_STATE, name, CrawlState.PAUSED)

    async def resume(self, name: str) -> None:
        """Hand out jobs of this crawl again. Safe to repeat.

        Raises:
            NotFound: no such crawl.
        """
        await self._run(_SET_STATE, name, CrawlState.ACTIVE)

    # ── a worker's verbs ─────────────────────────────────────────────────────────────────────

    async def lease(self, crawl: str, account: str, worker: str) -> HeldLease | IdleReason:
        """Give this worker the crawl's next job, or say why there is none
        (`NO_WORK`, `PAUSED`, `QUOTA`).

        A job is not given back to the account that last failed it, or handed it back, while there
        is another one.

        Raises:
            NotFound: no such crawl.
            InvalidRequest: a name that is none.
        """
        for name in (account, worker):
            if not _NAME.fullmatch(name):  # the finished record separates by blanks
                raise InvalidRequest(f"{name[:100]!r} is no name of an account or worker")
        args = (account, worker, new_secret(), self._lease_ms, self._max_held)
        reply = await self._run(_LEASE, crawl, *args)
        return replies.to_idle(reply) if reply[0] == "idle" else replies.to_lease(reply[1], crawl)

    async def extend(self, lease_id: str, account: str, progress: Progress) -> Extended:
        """A heartbeat: the lease lasts `lease_duration` from now.

        A lease that ran out comes back to life as long as nobody else has been given the job.

        Raises:
            LeaseLost: the job is somebody else's, or done, or was handed back or in.
        """
        ref = LeaseRef.parse(lease_id)
        args = (account, self._lease_ms, progress.model_dump_json())
        _, deadline, state = await self._run_for(_EXTEND, ref, *args)
        return Extended(replies.to_time(deadline), CrawlState(state))

    async def complete(self, lease_id: str, account: str, manifest: Manifest) -> Receipt:
        """Take an uploaded shard in for verification; safe to repeat, with the same receipt.

        A result whose lease ran out is taken as well while the job is open (pending or dead).

        Raises:
            LeaseLost: the job is somebody else's, or done by somebody else, or was handed back.
            InvalidRequest: over 10**9 pairs; no chunk has so many.
        """
        ref = LeaseRef.parse(lease_id)
        if manifest.counts.pairs > _MAX_COUNT:
            raise InvalidRequest(f"{manifest.counts.pairs} pairs in one chunk cannot be")
        reply = await self._run_for(_COMPLETE, ref, account, manifest.model_dump_json())
        return replies.to_receipt(reply, ref.job)

    async def release(self, lease_id: str, account: str, reason: str) -> Receipt:
        """Hand the job back; safe to repeat.

        It does not count as an attempt. Other accounts may have the job at once; when it is handed
        back again, it waits.

        Raises:
            LeaseLost: this lease no longer holds the job.
        """
        ref = LeaseRef.parse(lease_id)
        reply = await self._run_for(_RELEASE, ref, account, _clean(reason))
        return replies.to_receipt(reply, ref.job)

    async def fail(
        self, lease_id: str, account: str, failure_class: FailureClass, message: str
    ) -> Receipt:
        """End the attempt as failed; the job waits for another try, or is dead. Safe to repeat.

        Raises:
            LeaseLost: this lease no longer holds the job.
        """
        ref = LeaseRef.parse(lease_id)
        reply = await self._run_for(_FAIL, ref, account, _clean(message), failure_class)
        return replies.to_receipt(reply, ref.job)

    # ── the verifier's verbs ─────────────────────────────────────────────────────────────────

    async def claim_verification(self, crawl: str, visibility: timedelta) -> Submission | None:
        """The shard that waits longest, or None; no other caller gets it for `visibility`.

        A verifier that dies is thereby forgotten: the shard comes up again. A shard whose stored
        manifest cannot be read is rejected here, so that it keeps nobody from the others.

        Raises:
            NotFound: no such crawl.
        """
        while True:
            reply = await self._run(_CLAIM_VERIFICATION, crawl, milliseconds(visibility))
            if reply[0] == "none":
                return None
            try:
                return replies.to_submission(reply[1], crawl)
            except ValidationError as error:
                lease_id, reason = replies.lease_id(reply[1], crawl), replies.unreadable(error)
            log.warning("rejected unseen: %s: %s", lease_id.rpartition("~")[0], reason)
            with suppress(LeaseLost):  # another process was faster
                await self.reject(lease_id, reason)

    async def accept(self, lease_id: str, counts: Counts, size: int) -> Receipt:
        """Make a verified shard part of the dataset, with credit; safe to repeat.

        Args:
            lease_id: of the submission.
            counts: as the tracker recomputed them.
            size: bytes of the shard's files.

        Raises:
            LeaseLost: the shard is not (or no longer) being verified.
            ValueError: more than 10**9 pairs, or a size that is no size.
        """
        ref = LeaseRef.parse(lease_id)
        if counts.pairs > _MAX_COUNT or not 0 <= size < 2**40:
            raise ValueError(f"{counts.pairs} pairs in {size} bytes cannot be counted")
        drops = [part for reason, count in counts.drops.items() for part in (reason, count)]
        reply = await self._run_for(_ACCEPT, ref, counts.kept, counts.pairs, size, *drops)
        return replies.to_receipt(reply, ref.job)

    async def reject(self, lease_id: str, message: str) -> Receipt:
        """End the attempt as invalid; the job waits for another try, or is dead. Safe to repeat.

        Raises:
            LeaseLost: the shard is not (or no longer) being verified.
        """
        ref = LeaseRef.parse(lease_id)
        reply = await self._run_for(_REJECT, ref, _clean(message))
        return replies.to_receipt(reply, ref.job)

    # ── the tracker's and the admin's verbs ──────────────────────────────────────────────────

    async def reap(self, crawl: str, limit: int = 500) -> int:
        """Return leases that ran out to the queue, at most `limit`; say how many.

        Call it for every crawl every few seconds, from as many processes as you like. The
        first call after an outage (`outage_after`) extends all leases instead.

        Raises:
            NotFound: no such crawl.
        """
        _, count = await self._run(_REAP, crawl, limit, self._outage_ms)
        return int(count)

    async def requeue(
        self,
        jobs: Iterable[JobRef],
        reason: str,
        *,
        silent_since: datetime | None = None,
        dry_run: bool = False,
    ) -> dict[JobRef, Verdict]:
        """Take leased jobs from their workers and dead ones back; say what became of each.

        Args:
            jobs: of any crawls.
            reason: what the worker and the log are told.
            silent_since: leave a lease alone ('alive') that had a heartbeat after this time.
            dry_run: change nothing, answer the same.
        """
        # 0 means "spare none" to the script, so a time of 1970 or before becomes the first after
        since = 0 if silent_since is None else max(1, milliseconds(silent_since - _EPOCH))
        by_crawl: defaultdict[str, list[JobRef]] = defaultdict(list)
        verdicts: dict[JobRef, Verdict] = {}
        for job in dict.fromkeys(jobs):
            by_crawl[job.crawl].append(job)
            verdicts[job] = "unknown"
        for crawl, its_jobs in by_crawl.items():
            for start in range(0, len(its_jobs), _REQUEUED_AT_ONCE):
                some = its_jobs[start : start + _REQUEUED_AT_ONCE]
                indexes = [job.index for job in some]
                try:
                    if dry_run:
                        reply = await self._run(_REQUEUE_PREVIEW, crawl, since, *indexes)
                    else:
                        reply = await self._run(_REQUEUE, crawl, _clean(reason), since, *indexes)
                except NotFound:  # no such crawl: its jobs are unknown
                    break
                verdicts.update(zip(some, reply[1], strict=True))
        return verdicts


def _clean(message: str) -> str:
    """A stranger's message, bounded, and fit for Redis and JSON."""
    return message[:_MAX_MESSAGE].encode("utf-8", "replace").decode()


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ADD, _SET_STATE = Script("add"), Script("set_state")
_LEASE, _EXTEND, _COMPLETE = Script("lease"), Script("extend"), Script("complete")
_RELEASE, _FAIL = Script("release"), Script("fail")
_CLAIM_VERIFICATION = Script("claim_verification")
_ACCEPT, _REJECT = Script("accept"), Script("reject")
_REAP, _REQUEUE, _REQUEUE_PREVIEW = Script("reap"), Script("requeue"), Script("requeue_preview")
