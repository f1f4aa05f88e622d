"""`NewPairs`: asks the tracker, for a pipeline in its thread, which pairs no other shard has."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Final

from laion_protocol import Forbidden, LeaseLost, TrackerError, Unauthorized
from laion_protocol.client import NotATracker, TrackerClient
from laion_protocol.messages import Lease
from laion_protocol.messages.dedupe import SUSPICIOUS_FROM, Novelty, PairKeys

from .progress import Report

#: So many pairs in one question without a new one are doubted even in an archive that had some.
_MANY: Final = 1_000
#: Seconds for which a tracker that did not answer is not asked.
_AWAY: Final = 60.0


class NothingNew(Exception):
    """The tracker says twice that it knows every pair. That is no chance: its memory is wrong, or
    this archive was done before. A shard without rows would hide it; the job is failed instead."""


class NewPairs:
    """The questions of one lease; make it in the event loop, call it from anywhere.

    While the tracker is away, all pairs count as new: what is fetched twice is found when the
    dataset is released, and hours of a volunteer's work are worth more.
    """

    def __init__(self, client: TrackerClient, lease: Lease, report: Report) -> None:
        self._client = client
        self._lease = lease
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._new = 0
        self._away_until = 0.0

    def __call__(self, keys: Sequence[int]) -> "Future[list[bool]]":
        """Whether each is new; the future raises `NothingNew`, or what ends the job: `LeaseLost`,
        `Unauthorized`, `Forbidden`."""
        return asyncio.run_coroutine_threadsafe(self._flags(keys), self._loop)

    async def _flags(self, keys: Sequence[int]) -> list[bool]:
        if self._loop.time() < self._away_until:
            return [True] * len(keys)
        question = PairKeys.of(keys)
        try:
            answer = await self._answer(question, len(keys))
            if self._is_suspicious(answer):
                answer = await self._answer(question, len(keys))
        except (LeaseLost, Unauthorized, Forbidden):
            raise
        except (TrackerError, NotATracker) as error:
            if not self._away_until:
                self._report.say(
                    f"{self._lease.job}: not asking which pairs are new for now: {error}"
                )
            self._away_until = self._loop.time() + _AWAY
            return [True] * len(keys)
        if self._is_suspicious(answer):
            raise NothingNew(
                f"the tracker says that none of {len(keys)} pairs of this archive is new, and "
                "says it again; look at `python -m tracker dedupe show`"
            )
        self._new += answer.new
        return answer.flags()

    async def _answer(self, question: PairKeys, keys: int) -> Novelty:
        answer = await self._client.new_pairs(self._lease.lease_id, question)
        if answer.asked != keys:  # its body was cut short on the way: what it says is of others
            raise NotATracker(f"{keys} pairs were asked about, and {answer.asked} answered")
        return answer

    def _is_suspicious(self, answer: Novelty) -> bool:
        # The last few pairs of an archive may all be known; then there were new ones before.
        least = _MANY if self._new else SUSPICIOUS_FROM
        return not answer.flags().count(True) and answer.asked >= least
