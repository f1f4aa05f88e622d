"""`Dedupe`: what routes and verifier ask of the pair index, beside their event loop."""

import asyncio
import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from redis.asyncio import Redis

from laion_protocol import LeaseLost, NotFound, Outcome, Unavailable
from laion_protocol.messages.dedupe import DedupeState, FilterState, Novelty
from tracker.queue import JobQueue

from .home import Home
from .pair_index import PairIndex
from .shared_file import BrokenFile, SharedLock
from .to_commit import Note, ToCommit

log = logging.getLogger(__name__)

#: Questions that are looked up at once: they wait for one lock anyway, and each takes a thread.
_AT_ONCE: Final = 4
#: Keys that are committed, and synced to disk, together.
_TOGETHER: Final = 500_000
#: Seconds between two looks which attempts are over.
_SWEEP_EVERY: Final = 30.0
#: Seconds after which a worker that got no answer asks again.
_RETRY: Final = 60.0
_ACCEPTED: Final = (Outcome.OK, Outcome.LATE_OK)


class Dedupe:
    """One for each tracker process; those of one machine share `directory`.

    Every method but `ask` may raise `OSError` or `BrokenFile`, and all of them `RedisError`.
    """

    def __init__(
        self,
        directory: Path,
        redis: Redis,
        *,
        capacity: int = 2**20,
        rate: float = 1e-3,
        slots: int = 2**24,
        reserve_for: float = 24 * 3600,
        settle: float = 0,
    ) -> None:
        """Use `redis`, made with `decode_responses=True`; the caller closes it.

        `settle` is how long, in seconds, a shard's acceptance may still be lost with the power. The
        job that is then done again would find its own pairs known, if they were committed.
        """
        self.directory = directory
        self.home = Home(redis, directory)
        self.index = PairIndex(
            directory, capacity=capacity, rate=rate, slots=slots, reserve_for=reserve_for
        )
        self._notes = ToCommit(directory)
        self._settle = settle
        self._asking = asyncio.Semaphore(_AT_ONCE)
        self._locks: dict[str, SharedLock] = {}

    async def ask(self, job: str, lease_id: str, account: str, packed: bytes) -> Novelty:
        """Which of these keys (little-endian) are new to this job; they are this attempt's from
        now on, until it is over.

        Raises:
            Unavailable: the files cannot be used, or another machine has them.
            InvalidRequest: it took more pairs than any archive file has.
        """
        keys = np.frombuffer(packed, "<u8")
        try:
            await self._answers()
            async with self._asking:
                new = await asyncio.to_thread(self.index.ask, job, lease_id, keys, account=account)
        except (OSError, BrokenFile) as error:
            log.error("no worker learns which pairs are new: %s", error)
            raise Unavailable(
                "the tracker cannot tell now which pairs are new; go on without",
                retry_after=_RETRY,
            ) from error
        answer = Novelty.of(new.tolist())
        if answer.suspicious:
            log.warning(
                "none of %d pairs of %s is new: its pages are known from another crawl, or the "
                "files in %s are wrong", answer.asked, job, self.directory,
            )  # fmt: skip
        return answer

    async def intend(self, lease_id: str, account: str, keys: bytes) -> None:
        """Note the keys of a shard that is about to be accepted; on disk when this returns. At
        another machine than the files', it is only counted."""
        if await self.home.is_here(believed=0):
            note = await asyncio.to_thread(self._notes.put, lease_id, account, keys)
            # Who takes the files from this machine counts the notes that he finds, see `strand`,
            # and waits with his reading for shards that were about to be accepted.
            if await self.home.is_here(believed=0):
                return
            if not await asyncio.to_thread(self._notes.remove, note):
                return
        await self.home.missed()

    async def strand(self) -> None:
        """This machine's files are not the project's any more: nobody will commit what is noted
        here, so it is counted. Nobody may commit meanwhile, see `exclusively`."""
        paths = await asyncio.to_thread(self._notes.paths)
        if paths:
            await self.home.missed(len(paths))
        for path in paths:
            self._notes.remove(path)

    async def tend(self, queue: JobQueue) -> None:
        """What is to be done every few seconds, by any number of processes: commit what was
        accepted, free what is over, tell how it stands."""
        if not self.directory.exists() or not await self.home.is_here():
            return
        await self.commit_accepted(queue)
        if await asyncio.to_thread(self.index.sweep_due, _SWEEP_EVERY):
            await self.free_ended(queue)
        await self.home.tell(await self._look(here=True))

    async def free_ended(self, queue: JobQueue) -> int:
        """End the reservations of attempts that are over, however they ended and whoever ended
        them; says how many pairs those were.

        Those of an accepted shard stay until its pairs are committed. Its note was there before it
        was accepted: an attempt that is over and whose job has none is committed, or will never be.
        (The job's, since the attempt that fetched holds the pairs of the one that scored.)
        """
        holders = await asyncio.to_thread(self.index.holders)
        ended = set(holders) - await queue.live(holders)
        noted = await asyncio.to_thread(self._notes.jobs) if ended else set()
        over = [lease_id for lease_id in ended if lease_id.rpartition("~")[0] not in noted]
        return await asyncio.to_thread(self.index.free, over) if over else 0

    async def commit_accepted(self, queue: JobQueue) -> int:
        """Commit what was noted of shards that are accepted by now, and forget what was noted of
        others; says how many shards were committed. One process at a time does it."""
        paths = await asyncio.to_thread(self._notes.paths, self._settle)
        if not paths:
            return 0
        done = 0
        with self.exclusively().tried() as free:
            if not free:
                return 0
            ready: list[Note] = []
            for path in paths:
                note = await asyncio.to_thread(self._notes.read, path)
                if note is None:
                    continue
                accepted = await _is_accepted(queue, note)
                if accepted:
                    ready.append(note)
                elif accepted is not None:
                    self._notes.remove(note.path)
                if sum(len(one.keys) for one in ready) >= _TOGETHER:
                    done += await asyncio.to_thread(self._commit, ready)
                    ready = []
            done += await asyncio.to_thread(self._commit, ready)
        return done

    async def state(self) -> DedupeState:
        """What an admin sees of it; at another machine than the files', what was told last."""
        elsewhere = await self.home.is_elsewhere()
        told = await self.home.told() if elsewhere else None
        return told.model_copy(update={"here": False}) if told else await self._look(not elsewhere)

    async def weaknesses(self) -> tuple[str, ...]:
        """What keeps workers from learning here which pairs are new, for the operator."""
        try:
            return await self._weaknesses()
        except (OSError, BrokenFile) as error:
            return (f"the dedupe files cannot be used: {error}",)

    async def _weaknesses(self) -> tuple[str, ...]:
        if await self.home.is_elsewhere():
            return (
                "another machine has the dedupe files: route questions about pairs to it, or run "
                "`python -m tracker dedupe rebuild` here to have them here",
            )
        if self.directory.exists() and not await asyncio.to_thread(lambda: self.index.ready):
            return (
                "the dedupe files here were never filled: run `python -m tracker dedupe rebuild`",
            )
        return ()

    async def _answers(self) -> None:
        """This machine is the one that can tell."""
        if not await self.home.is_here():
            raise Unavailable(
                "another machine of this tracker has the dedupe files; its operator should route "
                "this call there. Go on without",
                retry_after=_RETRY,
            )
        if not await asyncio.to_thread(lambda: self.index.ready):
            raise Unavailable(
                "the tracker reads anew which pairs are known; go on without", retry_after=_RETRY
            )

    async def _look(self, here: bool) -> DedupeState:
        elsewhere = await self.home.elsewhere()
        with self.exclusively().tried() as free, self.rebuilding().tried() as idle:
            busy = not (free and idle)  # some process commits, for a moment, or rebuilds
        return await asyncio.to_thread(self._state, busy, here, elsewhere)

    def exclusively(self) -> SharedLock:
        """Who holds this, commits; nobody else does meanwhile."""
        return self._lock("committing")

    def rebuilding(self) -> SharedLock:
        """Who holds this for longer than a moment, rebuilds."""
        return self._lock("rebuilding")

    def _lock(self, name: str) -> SharedLock:
        if name not in self._locks:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._locks[name] = SharedLock(self.directory / name)
        return self._locks[name]

    def _commit(self, notes: list[Note]) -> int:
        if notes:
            self.index.commit(np.concatenate([note.keys for note in notes]))
        for note in notes:
            self._notes.remove(note.path)
        return len(notes)

    def _state(self, busy: bool, here: bool, elsewhere: int) -> DedupeState:
        committed, slots, reserved = self.index.look()
        rebuilt, unreadable = self.index.rebuilt()
        filters = tuple(
            FilterState(
                capacity=one.capacity,
                held=one.held,
                bytes=one.bytes,
                false_positives=one.rate,
                false_positives_now=one.rate_now(),
            )
            for one in committed.filters
        )
        return DedupeState(
            at=datetime.now(UTC),
            here=here,
            ready=self.index.ready,
            elsewhere=elsewhere,
            filters=filters,
            false_positives_now=_any_of(one.false_positives_now for one in filters),
            reservation_slots=slots,
            reserved=reserved,
            holders=len(self.index.holders()),
            to_commit=len(self._notes.paths()),
            busy=busy,
            rebuilt=rebuilt,
            unreadable=unreadable,
            **self.index.counters(),
        )


async def _is_accepted(queue: JobQueue, note: Note) -> bool | None:
    """None: it is not known yet."""
    try:
        receipt = await queue.receipt(note.lease_id, note.account)
    except (LeaseLost, NotFound):  # nobody knows of it any more
        return False
    return None if receipt.outcome is None else receipt.outcome in _ACCEPTED


def _any_of(rates: Iterable[float]) -> float:
    none = 1.0
    for rate in rates:
        none *= 1 - rate
    return 1 - none
