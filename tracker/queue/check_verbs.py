"""`CheckVerbs`: what becomes of a shard that was handed in, each time by a single atomic script."""

import logging
from contextlib import suppress
from datetime import timedelta
from typing import Final

from pydantic import ValidationError

from laion_protocol import Counts, LeaseLost
from laion_protocol.messages import Receipt

from . import replies
from .crawl_verbs import CrawlVerbs
from .ids import LeaseRef, new_secret
from .reader import milliseconds
from .records import Fetched, Submission
from .scripts import Script

log = logging.getLogger(__name__)

MAX_COUNT: Final = 10**9  #: of one shard; Redis's counters (2**63) hold those of 10**8 such jobs
_MAX_MESSAGE: Final = 500  #: characters, as `laion_protocol.messages.Reason`


class CheckVerbs(CrawlVerbs):
    """The verifier's verbs; `JobQueue` is one, and knows what workers and admins do to jobs."""

    async def claim_verification(self, crawl: str, visibility: timedelta) -> Submission | None:
        """The shard that waits longest, or None; no other caller gets it for `visibility`.

        A verifier that dies is thereby forgotten: the shard comes up again, and from the moment
        that another claims it, only that claim is good. A shard whose stored manifest cannot be
        read is rejected here, so that it keeps nobody from the others.

        Raises:
            NotFound: no such crawl.
        """
        while True:
            claim = new_secret()
            reply = await self._run(_CLAIM_VERIFICATION, crawl, milliseconds(visibility), claim)
            if reply[0] == "none":
                return None
            try:
                return replies.to_submission(reply[1], crawl, claim)
            except ValidationError as error:
                lease_id, reason = replies.lease_id(reply[1], crawl), replies.unreadable(error)
            log.warning("rejected unseen: %s: %s", lease_id.rpartition("~")[0], reason)
            with suppress(LeaseLost):  # another process was faster
                await self.reject(lease_id, reason, claim=claim)

    async def keep_claim(self, submission: Submission, visibility: timedelta) -> None:
        """No other caller gets the shard for `visibility` from now.

        Raises:
            LeaseLost: another verifier has claimed it, or it is not being verified any more.
        """
        ref = LeaseRef.parse(submission.lease_id)
        await self._run_for(_KEEP_CLAIM, ref, submission.claim, milliseconds(visibility))

    async def accept(self, lease_id: str, counts: Counts, size: int, *, claim: str = "") -> Receipt:
        """Make a verified shard part of the dataset, with credit; safe to repeat.

        A verified intermediate (stage fetch) becomes the job's: it is pending again, to be scored.

        Args:
            lease_id: of the submission.
            counts: as the tracker recomputed them.
            size: bytes of the shard's files.
            claim: of the submission; without one, whoever claimed it is passed over.

        Raises:
            LeaseLost: the shard is not (or no longer) being verified, or another verifier has
                claimed it.
            ValueError: more than 10**9 pairs, or a size that is no size.
        """
        ref = LeaseRef.parse(lease_id)
        if counts.pairs > MAX_COUNT or not 0 <= size < 2**40:
            raise ValueError(f"{counts.pairs} pairs in {size} bytes cannot be counted")
        drops = [part for reason, count in counts.drops.items() for part in (reason, count)]
        what = (claim, counts.kept, counts.pairs, size, *drops)
        return replies.to_receipt(await self._run_for(_ACCEPT, ref, *what), ref.job)

    async def reject(self, lease_id: str, message: str, *, claim: str = "") -> Receipt:
        """End the attempt as invalid; the job waits for another try, or is dead. Safe to repeat.

        Raises:
            LeaseLost: as for `accept`.
        """
        ref = LeaseRef.parse(lease_id)
        reply = await self._run_for(_REJECT, ref, claim, clean(message))
        return replies.to_receipt(reply, ref.job)

    async def refetch(self, fetched: Fetched) -> bool:
        """Have a job fetched anew whose intermediate is lost; whether it waited to be scored.

        Raises:
            NotFound: no such crawl.
        """
        ref = LeaseRef.parse(fetched.lease_id)
        args = (new_secret(), ref.job.index, ref.secret)
        _, refetched = await self._run(_REFETCH, ref.job.crawl, *args)
        return bool(refetched)


def clean(message: str) -> str:
    """A stranger's message, bounded, and fit for Redis and JSON."""
    return message[:_MAX_MESSAGE].encode("utf-8", "replace").decode()


_CLAIM_VERIFICATION, _KEEP_CLAIM = Script("claim_verification"), Script("keep_claim")
_ACCEPT, _REJECT, _REFETCH = Script("accept"), Script("reject"), Script("refetch")
