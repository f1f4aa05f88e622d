"""`Verifier`: checks what was handed in, takes back what ran out, clears away what was left.

Safe to run in any number of processes: every decision is one of the queue's scripts.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from redis.exceptions import RedisError

from laion_protocol import (
    JobState,
    LeaseLost,
    NotFound,
    Outcome,
    Stage,
    StorageFull,
    TrackerError,
    Unavailable,
)

from .begun import begun
from .books import Books
from .cancelled import is_cancelled
from .claim import claimed
from .dedupe import Dedupe
from .model_files import ModelFiles
from .model_sides import ModelSides
from .orphans import Orphans
from .queue import JobQueue, Submission
from .settings import Settings
from .storage import ShardStore, lease_of, shard_prefix
from .verify import CheckerBroken, ShardChecker, Verdict

log = logging.getLogger(__name__)

_POLL: Final = timedelta(seconds=0.5)
_SWEEP_EVERY: Final = timedelta(hours=1)
#: A pair that is not committed yet is still reserved by its job: there is no hurry.
_COMMIT_EVERY: Final = timedelta(seconds=10)
#: Tries; the books say themselves when an hour has passed.
_BOOKS_EVERY: Final = timedelta(minutes=5)
_MAX_WAIT: Final = 30.0
_REAPED_AT_ONCE: Final = 500
_ACCEPTED: Final = (Outcome.OK, Outcome.LATE_OK)


class Verifier:
    """Run it as a task beside the app; it ends when it is cancelled."""

    def __init__(
        self,
        queue: JobQueue,
        store: ShardStore,
        checker: ShardChecker,
        settings: Settings,
        dedupe: Dedupe | None = None,
        books: Books | None = None,
    ) -> None:
        self._queue = queue
        self._store = store
        self._checker = checker
        self._settings = settings
        self._sides = ModelSides(ModelFiles(settings.data, store))
        self._dedupe = dedupe
        self._books = books
        self._orphans = Orphans(queue, store, settings.orphan_age)

    async def run(self) -> None:
        """Check, reap and sweep until cancelled, whatever happens to Redis meanwhile."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_forever(self.reap, self._settings.reap_every))
            tasks.create_task(_forever(self.sweep, _SWEEP_EVERY))
            tasks.create_task(_forever(self.commit, _COMMIT_EVERY))
            tasks.create_task(_forever(self.check_books, _BOOKS_EVERY))
            for _ in range(self._settings.checkers):
                tasks.create_task(_forever(self.check_all, _POLL))

    async def check_all(self) -> int:
        """Check every shard that waits; says how many."""
        checked = 0
        for crawl in await self._queue.crawls():
            while submission := await self._claim(crawl.name):
                await self._check(submission)
                checked += 1
        return checked

    async def reap(self) -> None:
        """Return leases that ran out to the queue."""
        for crawl in await self._queue.crawls():
            try:
                while await self._queue.reap(crawl.name, _REAPED_AT_ONCE) >= _REAPED_AT_ONCE:
                    pass  # there may be more
            except NotFound:  # removed meanwhile
                continue

    async def sweep(self) -> None:
        """Remove what broken uploads, abandoned leases and killed trackers left behind."""
        await self._store.sweep(_SWEEP_EVERY.total_seconds())
        with contextlib.suppress(RedisError):  # who reaps says so; the next sweep is soon enough
            await self._store.sweep_open(self._settings.orphan_age.total_seconds(), self._waits)
            await self._orphans.sweep()

    async def _waits(self, prefix: str) -> bool:
        """Whether what lies there was handed in, and its check is late: nobody sends it again."""
        lease_id = lease_of(prefix)
        if lease_id is None:
            return False
        try:
            receipt = await self._queue.receipt(lease_id, "")
        except (LeaseLost, NotFound):
            return False
        return receipt.state is JobState.VERIFYING and receipt.outcome is None

    async def commit(self) -> None:
        """Make the pairs of accepted shards known to all; also of those that a killed tracker
        accepted."""
        if self._dedupe is not None:
            await self._dedupe.tend(self._queue)

    async def check_books(self) -> None:
        """Say so when the queue's records disagree; once an hour over all processes."""
        balance = await self._books.sweep_if_due() if self._books is not None else None
        if balance is not None and balance.differences:
            log.error(
                "the books do not balance: %s differences, e.g. %s; `python -m tracker books` "
                "lists them, and --repair puts right what it can",
                balance.differences,
                "; ".join(balance.examples[:3]),
            )

    async def _claim(self, crawl: str) -> Submission | None:
        try:
            return await self._queue.claim_verification(crawl, self._settings.claim_visibility)
        except NotFound:  # removed meanwhile
            return None

    async def _check(self, submission: Submission) -> None:
        prefix = shard_prefix(submission.lease_id)
        try:
            async with claimed(self._queue, submission, self._settings.claim_visibility):
                verdict = await self._look_at(submission, prefix)
            if verdict.accepted:
                await self._accept(submission, prefix, verdict)
            else:
                log.info("%s of %s: %s", submission.job, submission.account, verdict.reason)
                await self._queue.reject(
                    submission.lease_id, verdict.reason, claim=submission.claim
                )
                await self._store.remove(prefix)
        except LeaseLost:
            await self._drop(submission, prefix)

    async def _look_at(self, submission: Submission, prefix: str) -> Verdict:
        recipe = (await self._queue.crawl(submission.job.crawl)).recipe
        await self._store.seal(prefix, submission.manifest.files)
        side = await self._sides.of(recipe.model) if submission.stage is Stage.FETCH else None
        async with (
            self._store.checkout(prefix) as directory,
            begun(self._store, submission.fetched) as before,
        ):
            return await self._checker.check(
                directory, submission.manifest, recipe, side=side, begun=before
            )

    async def _accept(self, submission: Submission, prefix: str, verdict: Verdict) -> None:
        # The manifest first: an accepted shard has one, whenever the tracker is killed.
        about = {
            "job": str(submission.job),
            "account": submission.account,
            "worker": submission.worker,
            "attempt": submission.attempt,
            **submission.manifest.model_dump(mode="json"),
        }
        await self._store.describe(prefix, json.dumps(about, indent=1))
        if self._dedupe is not None and verdict.keys:
            await self._dedupe.intend(submission.lease_id, submission.account, verdict.keys)
        counts = submission.manifest.counts.model_copy(update={"kept": verdict.rows})
        await self._queue.accept(submission.lease_id, counts, verdict.bytes, claim=submission.claim)
        if submission.fetched is not None:  # nobody will score it again
            # If this is cut off, the sweep finds it.
            await self._store.remove(shard_prefix(submission.fetched.lease_id))

    async def _drop(self, submission: Submission, prefix: str) -> None:
        """The job was taken away while its shard was checked; or another verifier took this one
        for dead, and the shard is its to judge, or was."""
        try:
            receipt = await self._queue.receipt(submission.lease_id, submission.account)
        except TrackerError:  # nobody knows of it any more
            await self._store.remove(prefix)
            return
        if receipt.outcome is not None and receipt.outcome not in _ACCEPTED:
            await self._store.remove(prefix)


async def _forever(work: Callable[[], Awaitable[object]], every: timedelta) -> None:
    """Do `work` again and again; trouble is logged once, and waited out."""
    wait, troubled = every.total_seconds(), False
    while not is_cancelled():
        try:
            await work()
        except (RedisError, OSError, StorageFull, Unavailable, CheckerBroken) as error:
            if not troubled:
                log.error("the verifier waits: %s: %s", type(error).__name__, error)
            troubled, wait = True, min(_MAX_WAIT, wait * 2)
        except Exception:
            # A fault of ours in one shard or crawl must not end the work on all others.
            log.exception("the verifier failed at this, and goes on")
            troubled, wait = True, min(_MAX_WAIT, wait * 2)
        else:
            if troubled:
                log.info("the verifier goes on")
            troubled, wait = False, every.total_seconds()
        await asyncio.sleep(wait)
