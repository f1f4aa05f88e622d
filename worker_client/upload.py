"""`deliver`: a finished shard to the tracker, file by file, until it has all of them."""

from functools import partial
from pathlib import Path

from laion_protocol import Manifest, UploadMismatch
from laion_protocol.client import NotATracker, TrackerClient
from laion_protocol.messages import Completion, Receipt

from .patience import patiently
from .progress import Report

#: A line may garble a file once or twice; a disk that does it every time is broken.
_MOST_MISMATCHES = 5


async def deliver(
    client: TrackerClient, lease_id: str, shard: Path, manifest: Manifest, report: Report
) -> Receipt:
    """Upload what the tracker does not have yet, then complete the lease; safe to repeat.

    A tracker that is away or full is waited for. Each try asks anew what has arrived, so that a
    broken upload goes on with the file at which it broke.

    Raises:
        LeaseLost: somebody else has the job now.
        NotATracker: it asks for another file, or has one sent elsewhere.
        UploadMismatch: the files on this disk are not those of the manifest.
        TrackerError: any other refusal, which another try would meet again.
        OSError: a file cannot be read.
    """
    completion = Completion(manifest=manifest)
    mismatches = 0
    while True:
        try:
            await _upload(client, lease_id, shard, manifest, report)
            return await patiently(partial(client.complete, lease_id, completion), report)
        except UploadMismatch:
            mismatches += 1
            if mismatches >= _MOST_MISMATCHES:
                raise


async def _upload(
    client: TrackerClient, lease_id: str, shard: Path, manifest: Manifest, report: Report
) -> None:
    names = {file.name for file in manifest.files}
    plan = await patiently(partial(client.plan_uploads, lease_id, manifest.files), report)
    for slot in plan.slots:
        if slot.name not in names:  # a tracker gets what it was offered, not what it asks for
            raise NotATracker(f"the tracker asks for a file {slot.name!r} that is not of the shard")
        if not slot.url.startswith("/"):  # a PUT to an address that nobody judged
            raise NotATracker(
                f"the tracker sends {slot.name!r} to {slot.url[:200]!r}, which is not its own; "
                "update laion-worker"
            )
        if not slot.present:
            await patiently(partial(client.upload_file, slot, shard / slot.name), report)
