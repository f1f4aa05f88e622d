"""`JobQueue`: every change of a job's state, each one a single atomic script.

redis-py sends a script again when the line breaks before its answer came. So each script may come
twice with the same arguments; its header says what the second one is answered.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from redis.asyncio import Redis

from laion_protocol import (
    CrawlState,
    FailureClass,
    IdleReason,
    InvalidRequest,
    Manifest,
    NotFound,
    Stage,
)
from laion_protocol.messages import Progress, Receipt

from . import replies
from .check_verbs import MAX_COUNT, CheckVerbs, clean
from .ids import JobRef, LeaseRef, new_secret
from .reader import milliseconds, to_milliseconds
from .records import Extended, HeldLease, RetryPolicy, Seen, Verdict
from .scripts import Script

_REQUEUED_AT_ONCE: Final = 250  #: jobs in one script, which nothing else can interrupt
_CANCELLED_AT_ONCE: Final = 500  #: jobs in one script
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  #: `laion_protocol.messages.Name`


class JobQueue(CheckVerbs):
    """The jobs of all crawls. Safe to use from many tasks and many processes at once."""

    def __init__(
        self,
        redis: Redis,
        *,
        lease_duration: timedelta = timedelta(minutes=5),
        max_held: int = 8,
        max_held_account: int = 64,
        max_lease: timedelta = timedelta(hours=48),
        score_backlog: int = 100,
        retry: RetryPolicy | None = None,
        outage_after: timedelta = timedelta(minutes=2),
    ) -> None:
        """Use `redis`, which must have been made with `decode_responses=True`.

        Args:
            redis: the client; the caller closes it.
            lease_duration: how long a lease lasts after its last heartbeat; about five beats.
            max_held: leases that one worker may hold in one crawl at a time.
            max_held_account: leases that all workers of one account may hold in one crawl.
            max_lease: no heartbeat makes a lease last longer.
            score_backlog: over so many intermediates that wait to be scored, they come first.
            retry: for crawls added by this queue that say nothing else; kept with the crawl.
            outage_after: when `reap` was not called for so long, the tracker was away, and all
                leases are extended by that time instead of being reaped.
        """
        super().__init__(redis, retry or RetryPolicy())
        self._lease_ms = milliseconds(lease_duration)
        self._max_held = (max_held, max_held_account)
        self._max_lease_ms = milliseconds(max_lease)
        self._score_backlog = score_backlog
        self._outage_ms = milliseconds(outage_after)

    # ── a worker's verbs ─────────────────────────────────────────────────────────────────────

    async def lease(
        self,
        crawl: str,
        account: str,
        worker: str,
        stages: frozenset[Stage] = frozenset({Stage.HYBRID}),
    ) -> HeldLease | IdleReason:
        """Give this worker the crawl's next job, or say why there is none
        (`NO_WORK`, `PAUSED`, `DRAINING`, `QUOTA`).

        A job is not given back to the account that last failed it, or handed it back, while there
        is another one.

        Args:
            crawl: which.
            account: whose worker it is.
            worker: its name.
            stages: what it can do. With `SCORE` it may get an intermediate to score: if nothing
                else is left, or so many wait that they come first. Of `FETCH` and `HYBRID`, a job
                from its beginning is leased for `HYBRID`.

        Raises:
            NotFound: no such crawl.
            InvalidRequest: a name that is none.
        """
        for name in (account, worker):
            if not _NAME.fullmatch(name):  # the finished record separates by blanks
                raise InvalidRequest(f"{name[:100]!r} is no name of an account or worker")
        if Stage.HYBRID in stages:
            begins: str = Stage.HYBRID
        else:
            begins = Stage.FETCH if Stage.FETCH in stages else ""
        scores = int(Stage.SCORE in stages)
        who = (account, worker, new_secret(), self._lease_ms, *self._max_held)
        reply = await self._run(_LEASE, crawl, *who, begins, scores, self._score_backlog)
        return replies.to_idle(reply) if reply[0] == "idle" else replies.to_lease(reply[1], crawl)

    async def extend(self, lease_id: str, account: str, progress: Progress) -> Extended:
        """A heartbeat: the lease lasts `lease_duration` from now.

        A lease that ran out comes back to life as long as nobody else has been given the job.

        Raises:
            LeaseLost: the job is somebody else's, or done, or was handed back or in; the lease has
                lasted for `max_lease`; the crawl is finished.
        """
        ref = LeaseRef.parse(lease_id)
        args = (account, self._lease_ms, progress.model_dump_json(), self._max_lease_ms)
        _, deadline, state, worker = await self._run_for(_EXTEND, ref, *args)
        return Extended(replies.to_time(deadline), CrawlState(state), worker)

    async def complete(self, lease_id: str, account: str, manifest: Manifest) -> Receipt:
        """Take an uploaded shard, or intermediate, in for verification; safe to repeat, with the
        same receipt.

        A result whose lease ran out is taken as well while the job is open (pending or dead). If
        another worker's result is there already, what this one's manifest says is kept as a
        replica, and the receipt's outcome is `SUPERSEDED`.

        Raises:
            LeaseLost: the job is somebody else's, or was handed back.
            InvalidRequest: over 10**9 pairs (no chunk has so many), or another stage's manifest.
        """
        ref = LeaseRef.parse(lease_id)
        if manifest.counts.pairs > MAX_COUNT:
            raise InvalidRequest(f"{manifest.counts.pairs} pairs in one chunk cannot be")
        args = (account, manifest.model_dump_json(), manifest.stage, _replica(manifest))
        return replies.to_receipt(await self._run_for(_COMPLETE, ref, *args), ref.job)

    async def replicate(self, lease_id: str, account: str, manifest: Manifest) -> Receipt:
        """As `complete` for a lease that lost its job to another worker's result; anything else
        is answered as `complete` would, but nothing is taken in.

        Raises:
            LeaseLost: there is no other result, or nothing was handed in.
        """
        ref = LeaseRef.parse(lease_id)
        reply = await self._run_for(_REPLICATE, ref, account, _replica(manifest))
        return replies.to_receipt(reply, ref.job)

    async def release(self, lease_id: str, account: str, reason: str) -> Receipt:
        """Hand the job back; safe to repeat.

        It does not count as an attempt. Other accounts may have the job at once; when it is handed
        back again, it waits.

        Raises:
            LeaseLost: this lease no longer holds the job.
        """
        ref = LeaseRef.parse(lease_id)
        reply = await self._run_for(_RELEASE, ref, account, clean(reason))
        return replies.to_receipt(reply, ref.job)

    async def fail(
        self, lease_id: str, account: str, failure_class: FailureClass, message: str
    ) -> Receipt:
        """End the attempt as failed; the job waits for another try, or is dead. Safe to repeat.

        Raises:
            LeaseLost: this lease no longer holds the job.
        """
        ref = LeaseRef.parse(lease_id)
        reply = await self._run_for(_FAIL, ref, account, clean(message), failure_class)
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

    async def cancel(self, account: str, worker: str | None, reason: str) -> int:
        """Take all jobs of all crawls from this worker, or from all workers of the account; say
        how many. They learn of it, and of the reason, at their next heartbeat.
        """
        cancelled = 0
        for crawl in await self.crawls():
            more = "1"
            while more:
                args = (account, worker or "", clean(reason), _CANCELLED_AT_ONCE)
                try:
                    _, some, more = await self._run(_CANCEL, crawl.name, new_secret(), *args)
                except NotFound:  # removed meanwhile
                    break
                cancelled += some
        return cancelled

    async def requeue(
        self,
        jobs: Iterable[JobRef],
        reason: str,
        *,
        silent_since: datetime | None = None,
        seen: Seen | None = None,
        action: str = "",
        dry_run: bool = False,
    ) -> dict[JobRef, Verdict]:
        """Take leased jobs from their workers and dead ones back; say what became of each.

        Args:
            jobs: of any crawls.
            reason: what the worker and the log are told.
            silent_since: leave a lease alone ('alive') that had a heartbeat after this time.
            seen: leave alone ('unchanged') what has come to be otherwise since.
            action: id under which `Actions.undo` finds what was done; none by default.
            dry_run: change nothing, answer the same, but for `seen`.
        """
        # 0 means "spare none" to the script, so a time of 1970 or before becomes the first after
        since = 0 if silent_since is None else max(1, to_milliseconds(silent_since))
        state, seen_at = ("", 0) if seen is None else (seen.state, to_milliseconds(seen.at))
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
                        what = (new_secret(), clean(reason), since, state, seen_at, action)
                        reply = await self._run(_REQUEUE, crawl, *what, *indexes)
                except NotFound:  # no such crawl: its jobs are unknown
                    break
                verdicts.update(zip(some, reply[1], strict=True))
        return verdicts


def _replica(manifest: Manifest) -> str:
    """What is kept of a result that came too late."""
    source, counts = manifest.source, manifest.counts
    said = {"pairs_sha256": source.pairs_sha256, "pairs": counts.pairs, "kept": counts.kept}
    return json.dumps(said)


_LEASE, _EXTEND, _COMPLETE = Script("lease"), Script("extend"), Script("complete")
_REPLICATE, _RELEASE, _FAIL = Script("replicate"), Script("release"), Script("fail")
_CANCEL = Script("cancel")
_REAP, _REQUEUE, _REQUEUE_PREVIEW = Script("reap"), Script("requeue"), Script("requeue_preview")
