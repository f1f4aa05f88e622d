"""`TrackerClient`: the tracker's API as typed calls, for workers, bot and the tracker's own CLI."""

from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import aiohttp
from pydantic import TypeAdapter, ValidationError

from .admin_calls import AdminCalls
from .dedupe_calls import DedupeCalls
from .device_calls import DeviceCalls
from .errors import Unavailable
from .events import EVENT, Event
from .fleet_calls import FleetCalls
from .job_calls import JobCalls
from .manifest import FileEntry
from .messages import (
    Completion,
    CrawlStats,
    Delegation,
    DelegationRequest,
    Failure,
    Heartbeat,
    HeartbeatAnswer,
    HeldLeases,
    InputFile,
    Leaderboard,
    LeaseAnswer,
    LeaseRequest,
    Receipt,
    Release,
    Stats,
    UploadPlan,
    UploadRequest,
    UploadSlot,
)
from .project_calls import ProjectCalls
from .transport import NotATracker

__all__ = ["NotATracker", "TrackerClient"]

_CRAWLS: TypeAdapter[tuple[CrawlStats, ...]] = TypeAdapter(tuple[CrawlStats, ...])
#: An event is a few hundred bytes; a line this long is not one.
_MAX_EVENT_LINE = 2**20
#: Seconds without a byte that end a long answer: four of the feed's pings. A line that is cut
#: without a word would hang for ever.
_IDLE = 60.0


class TrackerClient(AdminCalls, DedupeCalls, DeviceCalls, FleetCalls, JobCalls, ProjectCalls):
    """One caller's session with one tracker; use it in `async with`.

    Every call obeys the tracker's `retry_after`, else backs off with full jitter, until `patience`
    (seconds) is over. Every call may raise what `laion_protocol.errors` draws, one exception per
    decision, and `NotATracker` when the URL leads to something else.
    """

    # ── a worker's calls ─────────────────────────────────────────────────────────────────────────

    async def lease(self, request: LeaseRequest) -> LeaseAnswer:
        """A job to do, or why there is none.

        After `Unavailable`, ask `held_leases` first: the lost answer may have been a lease.
        """
        return await self._post("/v1/leases", request, LeaseAnswer, repeatable=False)

    async def held_leases(self, worker: str) -> HeldLeases:
        """What this worker still holds, after a crash or a lost answer."""
        return await self._get("/v1/leases", HeldLeases, params={"worker": worker})

    async def heartbeat(
        self, lease_id: str, beat: Heartbeat, *, patience: float | None = None
    ) -> HeartbeatAnswer:
        """Extend the lease. Raises `LeaseLost` when it is somebody else's by now."""
        path = f"/v1/leases/{lease_id}/heartbeat"
        return await self._post(path, beat, HeartbeatAnswer, patience=patience)

    async def plan_uploads(self, lease_id: str, files: tuple[FileEntry, ...]) -> UploadPlan:
        """Where each file goes, and which have arrived already."""
        request = UploadRequest(files=files)
        return await self._post(f"/v1/leases/{lease_id}/uploads", request, UploadPlan)

    async def upload_file(self, slot: UploadSlot, path: Path, *, timeout: float = 3600) -> None:
        """Send one file into its slot; the file is opened afresh for each try.

        Raises:
            UploadMismatch: what arrived is not what was announced; the file changed on disk.
            OSError: the file cannot be read.
        """
        with ExitStack() as files:
            await self._http.call(
                "PUT",
                slot.url,
                body=lambda: files.enter_context(path.open("rb")),
                headers=slot.headers,
                timeout=timeout,
            )

    async def complete(self, lease_id: str, completion: Completion) -> Receipt:
        """Hand the shard in for verification; safe to repeat."""
        return await self._post(f"/v1/leases/{lease_id}/complete", completion, Receipt)

    async def release(self, lease_id: str, release: Release) -> Receipt:
        """Hand the job back undone; safe to repeat."""
        return await self._post(f"/v1/leases/{lease_id}/release", release, Receipt)

    async def fail(self, lease_id: str, failure: Failure) -> Receipt:
        """Report that this job cannot be done here, and whose fault it is; safe to repeat."""
        return await self._post(f"/v1/leases/{lease_id}/fail", failure, Receipt)

    async def receipt(self, lease_id: str) -> Receipt:
        """What has become of a lease."""
        return await self._get(f"/v1/leases/{lease_id}", Receipt)

    async def fetch_file(self, sha256: str, to: BinaryIO, *, most: int = 16 * 2**30) -> None:
        """Write the tracker's file of that hash to `to`; the caller checks the hash.

        One try: raises `Unavailable` when the line breaks.
        """
        await self._fetch(f"/v1/files/{sha256}", f"file {sha256}", to, most)

    async def fetch_input(self, file: InputFile, to: BinaryIO) -> None:
        """Write a file of an intermediate that the tracker itself keeps to `to`; the caller checks
        size and hash.

        One try: raises `Unavailable` when the line breaks.
        """
        if not file.url.startswith("/"):
            raise ValueError(f"{file.name} lies in a store of its own, not with the tracker")
        await self._fetch(file.url, file.name, to, file.size)

    async def _fetch(self, path: str, what: str, to: BinaryIO, most: int) -> None:
        try:
            async with self._http.open("GET", path, timeout=0, idle=_IDLE) as response:
                to.seek(0)
                to.truncate()
                async for piece in response.content.iter_chunked(2**20):
                    if to.tell() + len(piece) > most:
                        raise NotATracker(f"{what} is over {most} bytes long")
                    to.write(piece)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"the line broke while fetching {what}: {error}") from error

    # ── what anyone may read ─────────────────────────────────────────────────────────────────────

    async def stats(self) -> Stats:
        """Progress of every crawl."""
        return await self._get("/v1/stats", Stats)

    async def crawls(self) -> tuple[CrawlStats, ...]:
        """Every crawl with its counts."""
        raw = await self._http.call("GET", "/v1/crawls")
        try:
            return _CRAWLS.validate_json(raw)
        except ValidationError as error:
            raise NotATracker(
                f"the answer to /v1/crawls is not a list of crawls: {error}"
            ) from error

    async def leaderboard(self) -> Leaderboard:
        """Accounts by kept samples of their accepted shards."""
        return await self._get("/v1/leaderboard", Leaderboard)

    async def events(self, after: str | None = None) -> AsyncIterator[tuple[str, Event]]:
        """`(id, event)` as they happen, from just after the event `after`, or from now on.

        Keep the last id to go on from there. Raises `Unavailable` when the connection ends; events
        of kinds that this version does not know are passed over.
        """
        headers = {"Accept": "text/event-stream"} | (
            {} if after is None else {"Last-Event-ID": after}
        )
        event_id, data = "", ""
        try:
            async with self._http.open(
                "GET", "/v1/events", headers=headers, timeout=0, idle=_IDLE
            ) as response:
                async for line in _lines(response):
                    if line.startswith("id:"):
                        event_id = line[3:].strip()
                    elif line.startswith("data:"):
                        data += line[5:].strip()
                    elif not line and data:
                        event, data = _event(data), ""
                        if event is not None:
                            yield event_id, event
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"the event feed broke off: {error}") from error
        raise Unavailable("the event feed ended")

    # ── the bot's call ───────────────────────────────────────────────────────────────────────────

    async def delegate(self, request: DelegationRequest) -> Delegation:
        """For the bot: a short-lived token with a person's own rights.

        Raises:
            Forbidden: that person is not linked to an account with rights.
        """
        return await self._post("/v1/delegations", request, Delegation)


def _event(data: str) -> Event | None:
    try:
        return EVENT.validate_json(data)
    except ValidationError:
        return None  # a newer tracker knows more kinds


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[str]:
    """Lines of a server-sent event stream (WHATWG HTML, 9.2), bounded; LF or CRLF."""
    buffer = b""
    async for piece in response.content.iter_any():
        buffer += piece
        *whole, buffer = buffer.split(b"\n")
        if len(buffer) > _MAX_EVENT_LINE:
            raise NotATracker("a line of the event feed is endless; check the address")
        for line in whole:
            yield line.removesuffix(b"\r").decode("utf-8", "replace")
