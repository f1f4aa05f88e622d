"""What a score stage went on from, as the check of its shard gets it."""

import hashlib

import pytest

from laion_protocol import FileEntry, Stage
from tests.tracker.queue.test_model import manifest_of
from tracker.begun import begun
from tracker.queue import Fetched
from tracker.storage import LocalStore, shard_prefix

LEASE = "A~0~" + "0" * 32
ROWS = b"rows" * 1000


@pytest.fixture
async def kept(tmp_path):
    """The store, the intermediate as the queue knows it, and its file."""
    store, prefix = LocalStore(tmp_path), shard_prefix(LEASE)
    sha256 = hashlib.sha256(ROWS).hexdigest()
    entry = FileEntry(name="fetched.parquet", size=len(ROWS), sha256=sha256)

    async def body():
        yield ROWS

    await store.put(prefix, entry.name, body(), size=entry.size, sha256=entry.sha256)
    await store.seal(prefix, [entry])
    manifest = manifest_of(1, Stage.FETCH).model_copy(update={"files": (entry,)})
    fetched = Fetched(lease_id=LEASE, account="ann", worker="pc", manifest=manifest)
    return store, fetched, tmp_path / "shards" / prefix / entry.name


async def test_the_rows_are_copied_for_as_long_as_they_are_looked_at(kept):
    store, fetched, file = kept
    async with begun(store, fetched) as before:
        copy = before.directory / file.name
        assert copy.read_bytes() == ROWS
    assert not copy.exists()


@pytest.mark.parametrize("lose", [lambda file: file.unlink(), lambda file: file.write_bytes(b"ro")])
async def test_rows_that_the_store_lost_or_damaged_are_held_against_nobody(kept, lose):
    store, fetched, file = kept
    lose(file)
    async with begun(store, fetched) as before:
        assert (before.manifest, before.directory) == (fetched.manifest, None)
