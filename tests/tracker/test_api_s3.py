"""A tracker whose shards lie in a bucket: what a worker sends there itself, and what counts."""

import asyncio
import hashlib
import os
from dataclasses import replace

import numpy as np
import pytest
from redis.asyncio import Redis

from laion_protocol import (
    JobState,
    NotFound,
    Outcome,
    StorageFull,
    Unavailable,
    UploadMismatch,
)
from laion_protocol.messages import Completion
from laion_protocol.shard_format import SHARD_FILE
from tests.tracker.running import RECIPE
from tests.tracker.s3_server import ENVIRONMENT, StrictS3
from tests.tracker.shards import make_shard
from tests.tracker.test_api_worker import lease, settled
from tests.tracker.test_s3_store import raw_put
from tests.tracker.test_serve import fails, served
from tests.worker_client.project import Said
from tracker.exit_status import USAGE
from tracker.identity import address_key
from tracker.model_files import ModelFiles
from tracker.open_store import open_store
from tracker.place import CannotServe
from tracker.settings import Settings
from tracker.shard_store import shard_prefix
from tracker.storage import LocalStore
from tracker.store_id import check_store, share_address_key
from worker_client.foreign_store import ForeignStore
from worker_client.upload import deliver


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
async def door(moto):
    door = StrictS3(moto)
    async with door.running() as door.url:
        yield door


def store_for(url: str) -> ForeignStore:
    return ForeignStore("http://tracker", {("127.0.0.1", int(url.rpartition(":")[2]))}, "test")


async def kept(tracker) -> list[str]:
    objects = open_store(tracker.settings)._objects
    return [m["path"] async for m in objects.every("") if "/probe/" not in m["path"]]


async def test_a_worker_sends_its_shard_to_the_bucket_and_is_accepted(
    start, door, bucket, tmp_path
):
    tracker = await start(checkers=1, store_url=f"s3://{bucket}/x", s3_endpoint=door.url)
    await tracker.add_crawl()
    worker = await tracker.worker("ann")
    held = await lease(worker)
    shard = make_shard(tmp_path / "shard", RECIPE, lease=held)
    said = Said()
    await deliver(worker, held.lease_id, shard.directory, shard.manifest, said, store_for(door.url))
    receipt = await settled(worker, held)
    assert (receipt.state, receipt.outcome) == (JobState.ACCEPTED, Outcome.OK)
    prefix = shard_prefix(held.lease_id)
    assert await kept(tracker) == [f"shards/{prefix}/{n}" for n in ("manifest.json", SHARD_FILE)]
    assert said.lines == []
    assert not any(tracker.settings.data.rglob(SHARD_FILE))  # nor is any copy left here
    token = worker._http._token
    assert all(token not in str(request) for request in door.heads)


async def test_a_shard_is_resumed_file_by_file(start, door, bucket, tmp_path):
    tracker = await start(store_url=f"s3://{bucket}", s3_endpoint=door.url)
    recipe = RECIPE.model_copy(update={"embeddings": True})
    await tracker.add_crawl(recipe=recipe)
    worker = await tracker.worker()
    held = await lease(worker)
    vectors = np.zeros((5, 4), np.float16)
    shard = make_shard(tmp_path / "shard", recipe, lease=held, vectors=vectors)
    first, second = (await worker.plan_uploads(held.lease_id, shard.files)).slots
    await store_for(door.url).put(
        first.url, first.headers, shard.directory / first.name, size=shard.files[0].size
    )
    door.heads.clear()
    slots = (await worker.plan_uploads(held.lease_id, shard.files)).slots
    assert [slot.present for slot in slots] == [True, False]
    args = (worker, held.lease_id, shard.directory, shard.manifest, Said(), store_for(door.url))
    await deliver(*args)
    assert [path for verb, path, _ in door.heads if verb == "PUT" and second.name in path]
    assert not [path for verb, path, _ in door.heads if verb == "PUT" and SHARD_FILE in path]


@pytest.mark.parametrize("sent", [b"another content", b""])
async def test_what_a_lenient_service_took_counts_only_if_it_is_what_was_announced(
    start, moto, bucket, tmp_path, sent
):
    tracker = await start(store_url=f"s3://{bucket}", s3_endpoint=moto)
    await tracker.add_crawl()
    worker = await tracker.worker()
    held = await lease(worker)
    shard = make_shard(tmp_path / "shard", RECIPE, lease=held)
    [slot] = (await worker.plan_uploads(held.lease_id, shard.files)).slots
    size = shard.files[0].size
    assert await raw_put(slot.url, slot.headers, sent.ljust(size, b"?")) == 200
    with pytest.raises(UploadMismatch, match=SHARD_FILE):
        await worker.complete(held.lease_id, Completion(manifest=shard.manifest))
    good = (shard.directory / SHARD_FILE).read_bytes()
    assert await raw_put(slot.url, slot.headers, good) == 200
    receipt = await worker.complete(held.lease_id, Completion(manifest=shard.manifest))
    assert receipt.state is JobState.VERIFYING


async def test_a_file_that_comes_after_the_shard_was_handed_in_changes_nothing(
    start, moto, bucket, tmp_path
):
    tracker = await start(store_url=f"s3://{bucket}", s3_endpoint=moto)
    await tracker.add_crawl()
    worker = await tracker.worker()
    held = await lease(worker)
    shard = make_shard(tmp_path / "shard", RECIPE, lease=held)
    [slot] = (await worker.plan_uploads(held.lease_id, shard.files)).slots
    good = (shard.directory / SHARD_FILE).read_bytes()
    await raw_put(slot.url, slot.headers, good)
    await worker.complete(held.lease_id, Completion(manifest=shard.manifest))
    checking = await start(checkers=1, store_url=f"s3://{bucket}", s3_endpoint=moto)
    assert (await settled(worker, held)).outcome is Outcome.OK
    await raw_put(slot.url, slot.headers, b"swapped")
    store, prefix = open_store(checking.settings), shard_prefix(held.lease_id)
    assert b"".join([piece async for piece in store.read(prefix, SHARD_FILE)]) == good


async def test_an_old_worker_sends_through_the_tracker(start, door, bucket, tmp_path):
    tracker = await start(checkers=1, store_url=f"s3://{bucket}", s3_endpoint=door.url)
    await tracker.add_crawl()
    worker = await tracker.worker()
    held = await lease(worker)
    shard = make_shard(tmp_path / "shard", RECIPE, lease=held)
    [slot] = (await worker.plan_uploads(held.lease_id, shard.files)).slots
    own = slot.model_copy(
        update={
            "url": f"/v1/leases/{held.lease_id}/files/{SHARD_FILE}",
            "headers": {"X-Content-SHA256": shard.files[0].sha256},
        }
    )
    await worker.upload_file(own, shard.directory / SHARD_FILE)
    await worker.complete(held.lease_id, Completion(manifest=shard.manifest))
    assert (await settled(worker, held)).outcome is Outcome.OK


async def test_a_full_bucket_takes_no_files(start, door, bucket, tmp_path):
    roomy = await start(store_url=f"s3://{bucket}", s3_endpoint=door.url)
    await roomy.add_crawl()
    worker = await roomy.worker()
    held = await lease(worker)
    shard = make_shard(tmp_path / "shard", RECIPE, lease=held)
    size = shard.files[0].size
    full = await start(store_url=f"s3://{bucket}", s3_endpoint=door.url, max_store_bytes=size - 1)
    other = await full.client(worker._http._token)
    with pytest.raises(StorageFull):
        await other.plan_uploads(held.lease_id, shard.files)


async def test_a_tracker_without_its_bucket_is_not_ready(start, moto):
    tracker = await start(store_url="s3://there-is-none", s3_endpoint=moto)
    async with (await tracker.raw()).get("/readyz") as answer:
        assert answer.status == 503
        assert (await answer.json())["checks"]["store"] == "cannot be written (Unavailable)"


async def test_serve_keeps_its_shards_in_a_bucket_and_says_what_is_wrong_with_one(
    tmp_path, door, bucket, moto, redis: Redis, redis_url, monkeypatch
):
    data, where = tmp_path / "data", ("--s3-endpoint", door.url, "--redis-url", redis_url)
    async with served(data, "--store", f"s3://{bucket}", *where) as (_, url):
        assert url
    other = ("--store", f"s3://{bucket}/other", *where)
    status, sentence = await fails(tmp_path / "elsewhere", *other)
    assert status == os.EX_CONFIG
    assert f"lie elsewhere than in {door.url}/{bucket}/other;" in sentence
    status, sentence = await fails(data, "--store", "s3://there-is-none", *where)
    assert (status, "does not answer" in sentence) == (os.EX_UNAVAILABLE, True)
    status, sentence = await fails(data, "--store", "https://bucket", *where)
    assert (status, "is not s3://BUCKET" in sentence) == (USAGE, True)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    status, sentence = await fails(data, "--store", f"s3://{bucket}", *where)
    assert (status, "set AWS_ACCESS_KEY_ID" in sentence) == (USAGE, True)


async def test_trackers_of_many_machines_share_a_bucket(settings, redis, bucket, moto, tmp_path):
    def machine(name: str) -> Settings:
        return replace(settings, data=tmp_path / name, store_url=f"s3://{bucket}", s3_endpoint=moto)

    for name in ("first", "second"):
        await check_store(redis, "redis://x", open_store(machine(name)))
    with pytest.raises(CannotServe, match="lie elsewhere than in"):
        await check_store(redis, "redis://x", LocalStore(tmp_path / "third"))


async def test_a_model_file_given_to_one_machine_is_had_from_all(
    start, redis, moto, bucket, tmp_path, monkeypatch
):
    monkeypatch.setattr("tracker.s3_shared_files._PIECE", 1000)
    data = bytes(range(256)) * 10
    sha256 = hashlib.sha256(data).hexdigest()
    there = {"store_url": f"s3://{bucket}/x", "s3_endpoint": moto}
    one, other = await start(**there), await start(**there, data=tmp_path / "other")
    (tmp_path / "model").write_bytes(data)
    await (await one.admin()).put_file(sha256, tmp_path / "model")
    names = [key.rpartition("/")[2] for key in await kept(one) if sha256 in key]
    assert names == ["00000-00003", "00001-00003", "00002-00003"]
    files = ModelFiles(other.settings.data, open_store(other.settings))
    both = await asyncio.gather(files.locate(sha256), files.locate(sha256))  # it comes once
    assert [path.read_bytes() for path in both] == [data, data]
    worker = await other.worker("ann")
    with (tmp_path / "got").open("wb") as got:
        await worker.fetch_file(sha256, got)
    assert (tmp_path / "got").read_bytes() == data
    with pytest.raises(NotFound, match="an admin must add it"):
        await files.locate("0" * 64)


async def test_a_model_file_that_is_broken_in_the_store_is_not_taken(settings, moto, bucket):
    changed = replace(settings, store_url=f"s3://{bucket}/x", s3_endpoint=moto)
    store = open_store(changed)
    await store._objects.put(f"files/{'1' * 64}/00000-00002", b"half")  # cut off
    await store._objects.put(f"files/{'2' * 64}/00000-00001", b"something else")
    files = ModelFiles(changed.data, store)
    with pytest.raises(NotFound):
        await files.locate("1" * 64)
    with pytest.raises(Unavailable, match="cannot get this file"):
        await files.locate("2" * 64)
    assert not list((changed.data / "files").iterdir())


async def test_machines_on_one_bucket_hash_addresses_alike(settings, moto, bucket, tmp_path):
    changed = replace(settings, store_url=f"s3://{bucket}/x", s3_endpoint=moto)
    keys = []
    for name in ("one", "two", "one"):
        data = tmp_path / name
        await share_address_key(open_store(replace(changed, data=data)), data)
        keys.append(address_key(data))
        assert (data / "address.key").stat().st_mode & 0o077 == 0
    assert keys[0] == keys[1] == keys[2]
