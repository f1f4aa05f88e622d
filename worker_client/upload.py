"""`deliver`: a finished shard to the tracker, file by file, until it has all of them."""

import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from laion_protocol import FileEntry, LeaseLost, Manifest, UploadMismatch
from laion_protocol.client import NotATracker, TrackerClient
from laion_protocol.messages import Completion, Receipt, UploadSlot

from .foreign_store import ForeignStore
from .patience import patiently
from .progress import Report

#: A line may garble a file once or twice; a disk that does it every time is broken.
_MOST_MISMATCHES = 5
#: Seconds for which a slot in a store is taken as it was given; they are good for an hour or so.
_FRESH = 600.0


async def deliver(
    client: TrackerClient,
    lease_id: str,
    shard: Path,
    manifest: Manifest,
    report: Report,
    store: ForeignStore,
) -> Receipt:
    """Upload what the tracker does not have yet, then complete the lease; safe to repeat.

    The files go to the tracker, or to the store that it names. A tracker or store that is away or
    full is waited for. Each try asks anew what has arrived, so that a broken upload goes on with
    the file at which it broke. When the tracker wants no files under this lease any more, it is
    told of the shard all the same: it may have all of it from an earlier try, or thank for a
    result that came second.

    Raises:
        LeaseLost: somebody else has the job now, or an admin took it away.
        NotATracker: it asks for another file.
        StoreRefused: it names a store that this machine does not open.
        UploadMismatch: the files on this disk are not those of the manifest.
        TrackerError: any other refusal, which another try would meet again.
        OSError: a file cannot be read.
    """
    completion = Completion(manifest=manifest)
    upload = _Upload(client, lease_id, shard, report, store)
    mismatches = 0
    while True:
        try:
            with suppress(LeaseLost):
                await upload.send(manifest.files)
            return await patiently(partial(client.complete, lease_id, completion), report)
        except UploadMismatch:
            mismatches += 1
            if mismatches >= _MOST_MISMATCHES:
                raise


class _Upload:
    def __init__(
        self,
        client: TrackerClient,
        lease_id: str,
        shard: Path,
        report: Report,
        store: ForeignStore,
    ) -> None:
        self._client = client
        self._lease_id = lease_id
        self._shard = shard
        self._report = report
        self._store = store

    async def send(self, files: tuple[FileEntry, ...]) -> None:
        """Send what has not arrived."""
        by_name = {file.name: file for file in files}
        slots = await patiently(partial(self._slots, files), self._report)
        asked = time.monotonic()
        for slot in slots:
            if slot.name not in by_name:  # a tracker gets what it was offered, not what it asks for
                raise _not_of_the_shard(slot)
            fresh = [slot] if time.monotonic() - asked < _FRESH else []
            await patiently(partial(self._try, by_name[slot.name], fresh), self._report)

    async def _try(self, file: FileEntry, fresh: list[UploadSlot]) -> None:
        """Send one file, into a slot of `fresh` or a new one: a store's may be used up."""
        slot = fresh.pop() if fresh else (await self._slots((file,)))[0]
        if slot.name != file.name:
            raise _not_of_the_shard(slot)
        path = self._shard / file.name
        if slot.present:
            return
        if slot.url.startswith("/"):
            await self._client.upload_file(slot, path)
        else:
            await self._store.put(slot.url, slot.headers, path, size=file.size)

    async def _slots(self, files: tuple[FileEntry, ...]) -> tuple[UploadSlot, ...]:
        slots = (await self._client.plan_uploads(self._lease_id, files)).slots
        if not slots:
            raise NotATracker("the tracker answers with no place for any file")
        return slots


def _not_of_the_shard(slot: UploadSlot) -> NotATracker:
    return NotATracker(f"the tracker asks for a file {slot.name!r} that is not of the shard")
