"""`begun`: what a score stage went on from, for the check of its shard."""

import logging
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from laion_protocol import Manifest
from laion_protocol.shard_format import INTERMEDIATE_FILE

from .incoming import on_disk
from .queue import Fetched
from .shard_store import ShardStore, shard_prefix
from .verify import Begun, numbered

log = logging.getLogger(__name__)


@asynccontextmanager
async def begun(store: ShardStore, fetched: Fetched | None) -> AsyncIterator[Begun | None]:
    """The intermediate's manifest, and a copy of its rows; the pictures stay where they are.

    An intermediate that was lost is no fault of whoever scored it: their shard is then held to the
    manifest alone.

    Raises:
        OSError, StorageFull, Unavailable: the rows cannot be had now.
    """
    if fetched is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="laion-begun-") as scratch:
        directory: Path | None = Path(scratch)
        try:
            for name in _rows_of(fetched.manifest):
                await _copy(store, shard_prefix(fetched.lease_id), name, Path(scratch))
        except FileNotFoundError:
            log.warning("the intermediate of %s is not in the store any more", fetched.lease_id)
            directory = None
        yield Begun(manifest=fetched.manifest, directory=directory)


def _rows_of(manifest: Manifest) -> list[str]:
    series = {numbered(INTERMEDIATE_FILE, number) for number in range(len(manifest.files))}
    return [entry.name for entry in manifest.files if entry.name in series]


async def _copy(store: ShardStore, prefix: str, name: str, to: Path) -> None:
    with (to / name).open("wb") as file:
        async for piece in store.read(prefix, name):
            await on_disk(lambda data=piece: file.write(data))  # type: ignore[misc]
