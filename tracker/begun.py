"""`begun`: what a score stage went on from, for the check of its shard."""

import hashlib
import logging
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from laion_protocol import FileEntry, Manifest
from laion_protocol.shard_format import INTERMEDIATE_FILE

from .incoming import on_disk
from .queue import Fetched
from .shard_store import ShardStore, shard_prefix
from .verify import Begun, numbered

log = logging.getLogger(__name__)


@asynccontextmanager
async def begun(store: ShardStore, fetched: Fetched | None) -> AsyncIterator[Begun | None]:
    """The intermediate's manifest, and a copy of its rows; the pictures stay where they are.

    An intermediate that was lost, or damaged, is no fault of whoever scored it: their shard is then
    held to the manifest alone.

    Raises:
        OSError, StorageFull, Unavailable: the rows cannot be had now.
    """
    if fetched is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="laion-begun-") as scratch:
        directory: Path | None = Path(scratch)
        try:
            for entry in _rows_of(fetched.manifest):
                await _copy(store, shard_prefix(fetched.lease_id), entry, Path(scratch))
        except FileNotFoundError as error:
            log.warning("the intermediate of %s is lost: %s", fetched.lease_id, error)
            directory = None
        yield Begun(manifest=fetched.manifest, directory=directory)


def _rows_of(manifest: Manifest) -> list[FileEntry]:
    series = {numbered(INTERMEDIATE_FILE, number) for number in range(len(manifest.files))}
    return [entry for entry in manifest.files if entry.name in series]


async def _copy(store: ShardStore, prefix: str, entry: FileEntry, to: Path) -> None:
    """Raises `FileNotFoundError` also for a file that is not any more what was accepted."""
    digest = hashlib.sha256()
    with (to / entry.name).open("wb") as file:
        async for piece in store.read(prefix, entry.name):
            digest.update(piece)
            await on_disk(lambda data=piece: file.write(data))  # type: ignore[misc]
    if digest.hexdigest() != entry.sha256:
        raise FileNotFoundError(f"{entry.name} is damaged")
