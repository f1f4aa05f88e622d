"""The bucket: only what was announced counts, whatever the service believes, and nothing changes
once it is sealed."""

import asyncio
import hashlib
import io
import logging
import socket
from contextlib import asynccontextmanager
from datetime import timedelta

import aiohttp
import pytest
from botocore.credentials import Credentials
from yarl import URL

from laion_protocol import FileEntry, Unavailable, UploadMismatch
from tests.tracker.s3_server import KEY_ID, SECRET, StrictS3
from tracker.s3_signer import BadStoreURL, S3Place, S3Signer
from tracker.s3_store import S3Store
from tracker.shard_store import shard_prefix
from worker_client.foreign_store import ForeignStore

PREFIX = shard_prefix(f"CC-1~7~{'a' * 32}")
NAME = "shard.parquet"
NOWHERE = S3Place.parse("s3://bucket", "http://127.0.0.1:9", {})


def entry(data: bytes, name: str = NAME) -> FileEntry:
    return FileEntry(name=name, size=len(data), sha256=hashlib.sha256(data).hexdigest())


async def body(data: bytes):
    yield data


@asynccontextmanager
async def opened(endpoint, tmp_path, bucket, **options):
    place = S3Place.parse(f"s3://{bucket}/crawls/a", endpoint, {"AWS_REGION": "eu-test-1"})
    yield S3Store(place, Credentials(KEY_ID, SECRET), tmp_path / "checks", **options)


@pytest.fixture(params=["strict", "lenient"])
async def store(moto, tmp_path, bucket, request):
    """Over a service that holds to its signatures, and one that believes everything."""
    if request.param == "lenient":
        async with opened(moto, tmp_path, bucket) as store:
            yield store
        return
    async with (
        StrictS3(moto).running() as endpoint,
        opened(endpoint, tmp_path, bucket) as store,
    ):
        yield store


@pytest.fixture
async def strict(moto, tmp_path, bucket):
    door = StrictS3(moto)
    async with door.running() as endpoint, opened(endpoint, tmp_path, bucket) as store:
        yield store, door


async def raw_put(url, headers, data: bytes) -> int:
    """As anybody may send it who has the URL."""
    async with (
        aiohttp.ClientSession() as session,
        session.put(URL(url, encoded=True), data=io.BytesIO(data), headers=headers) as answer,
    ):
        return answer.status


async def send(store, data: bytes, file: FileEntry | None = None, *, prefix=PREFIX) -> int:
    slot = store.slot(prefix, file or entry(data))
    return await raw_put(slot.url, slot.headers, data)


async def present(store, file: FileEntry) -> bool:
    return await store.present(PREFIX, file.name, size=file.size, sha256=file.sha256)


async def contents(store, prefix=PREFIX) -> dict[str, bytes]:
    async with store.checkout(prefix) as directory:
        return {path.name: path.read_bytes() for path in directory.iterdir()}


async def keys(store) -> list[str]:
    return [
        meta["path"] async for meta in store._objects.every("") if "/probe/" not in meta["path"]
    ]


async def test_what_was_sent_into_its_slot_is_there(store):
    assert not await present(store, entry(b"data"))
    assert await send(store, b"data") == 200
    assert await present(store, entry(b"data"))
    assert not await present(store, entry(b"tada"))
    assert not await store.present(PREFIX, "other", size=4, sha256=entry(b"data").sha256)
    assert await send(store, b"", entry(b"", "empty.npy")) == 200
    assert await present(store, entry(b"", "empty.npy"))


async def test_a_lease_has_one_object_for_each_name_whatever_is_announced(store):
    for data in (b"data", b"tada"):
        await send(store, data)
    assert await keys(store) == [f"uploads/{PREFIX}/{NAME}"]
    assert not await present(store, entry(b"data"))
    assert await present(store, entry(b"tada"))


@pytest.mark.parametrize("sent", [b"tada", b"dat", b"datadata"])
async def test_what_is_not_as_announced_never_counts(store, sent):
    await send(store, sent, entry(b"data"))
    assert not await present(store, entry(b"data"))
    assert await send(store, b"data") == 200
    assert await present(store, entry(b"data"))


async def test_a_strict_service_takes_only_what_the_url_was_signed_for(strict):
    store, door = strict
    slot = store.slot(PREFIX, entry(b"data"))
    other = store.slot(PREFIX, entry(b"tada"))
    moved = slot.url.replace(NAME, "other.parquet")
    bare = {"Content-Type": slot.headers["Content-Type"]}
    for url, headers, data, why in [
        (slot.url, slot.headers, b"tada", "XAmzContentChecksumMismatch"),
        (slot.url, slot.headers, b"data!", "SignatureDoesNotMatch"),  # its size
        (slot.url, other.headers, b"tada", "SignatureDoesNotMatch"),
        (slot.url, bare, b"data", "SignatureDoesNotMatch"),
        (slot.url, {**slot.headers, "x-amz-acl": "public-read"}, b"data", "AccessDenied"),
        (moved, slot.headers, b"data", "SignatureDoesNotMatch"),
        (slot.url.partition("?")[0], slot.headers, b"data", "AccessDenied"),
    ]:
        assert await raw_put(url, headers, data) >= 400
        assert door.refused[-1] == why
    assert await keys(store) == []
    async with aiohttp.ClientSession() as session:
        for verb in ("GET", "DELETE", "POST"):
            async with session.request(verb, URL(slot.url, encoded=True)) as answer:
                assert answer.status == 403


async def test_a_slot_is_good_for_a_while_only(strict):
    store, door = strict
    stale = store._signer.put(
        "uploads/x", size=4, sha256=entry(b"data").sha256, lifetime=timedelta(seconds=-1)
    )
    assert await raw_put(stale.url, stale.headers, b"data") == 403
    assert door.refused == ["AccessDenied"]


async def test_nothing_changes_in_a_sealed_shard(store):
    file = entry(b"checked")
    await send(store, b"checked")
    slot = store.slot(PREFIX, file)
    await store.seal(PREFIX, [file])
    await raw_put(slot.url, slot.headers, b"swapped")
    await store.put(PREFIX, NAME, body(b"swapped"), size=7, sha256=entry(b"swapped").sha256)
    for _ in range(2):
        assert await contents(store) == {NAME: b"checked"}
        await store.seal(PREFIX, [file])


async def test_a_sealed_shard_has_only_the_files_that_were_named(store):
    files = [entry(b"first"), entry(b"second", "image_embeddings.npy")]
    for data, file in zip((b"first", b"second"), files, strict=True):
        await send(store, data, file)
    await send(store, b"smuggled", entry(b"smuggled", "shard-1.parquet"))
    await store.seal(PREFIX, files)
    await store.describe(PREFIX, "{}")
    await store.seal(PREFIX, files)
    there = {NAME: b"first", "image_embeddings.npy": b"second", "manifest.json": b"{}"}
    assert await contents(store) == there
    assert {key.partition("/")[0] for key in await keys(store)} == {"shards"}


async def test_a_file_that_is_not_there_is_left_to_the_check(store):
    await store.seal(PREFIX, [entry(b"never sent")])
    assert await contents(store) == {}


async def test_a_seal_that_was_cut_off_is_finished(store):
    files = [entry(b"first"), entry(b"second", "image_embeddings.npy")]
    for data, file in zip((b"first", b"second"), files, strict=True):
        await send(store, data, file)
    source = f"uploads/{PREFIX}/{NAME}"
    await store._objects.copy(source, f"shards/{PREFIX}/{NAME}")
    await store._objects.delete([source])
    await store.seal(PREFIX, files)
    assert await contents(store) == {NAME: b"first", "image_embeddings.npy": b"second"}


async def test_a_file_larger_than_announced_is_not_fetched_for_the_check(moto, tmp_path, bucket):
    async with opened(moto, tmp_path, bucket) as store:
        await send(store, b"x" * 1000, entry(b"data"))
        await store.seal(PREFIX, [entry(b"data")])
        assert await contents(store) == {}


async def test_a_worker_that_cannot_reach_the_bucket_sends_through_the_tracker(store, tmp_path):
    file = entry(b"data")
    with pytest.raises(UploadMismatch):
        await store.put(PREFIX, NAME, body(b"tada"), size=4, sha256=file.sha256)
    assert await keys(store) == []
    await store.put(PREFIX, NAME, body(b"data"), size=4, sha256=file.sha256)
    assert await present(store, file)
    assert list((tmp_path / "checks").iterdir()) == []


async def test_a_sealed_file_is_read_here_or_by_a_link(store):
    data = bytes(range(256)) * 2**13  # 2 MiB
    await send(store, data)
    await store.seal(PREFIX, [entry(data)])
    pieces = [piece async for piece in store.read(PREFIX, NAME)]
    assert b"".join(pieces) == data
    with pytest.raises(FileNotFoundError):
        await anext(store.read(PREFIX, "other"))
    async with (
        aiohttp.ClientSession() as session,
        session.get(URL(store.link(PREFIX, NAME), encoded=True)) as answer,
    ):
        assert await answer.read() == data


async def test_a_removed_shard_is_gone_open_or_sealed(store):
    await store.remove(PREFIX)
    await send(store, b"data")
    await store.remove(PREFIX)
    await send(store, b"data")
    await store.seal(PREFIX, [entry(b"data")])
    await store.describe(PREFIX, "{}")
    await store.remove(PREFIX)
    assert await keys(store) == []


async def test_the_sweep_takes_what_is_open_and_old_and_nothing_that_is_sealed(store):
    other = shard_prefix(f"CC-1~8~{'b' * 32}")
    await send(store, b"data")
    await store.seal(PREFIX, [entry(b"data")])
    await send(store, b"late", entry(b"late"))  # by a URL from before
    await send(store, b"data", prefix=other)
    assert await store.sweep_open(3600) == 0
    assert await store.sweep_open(-3600) >= 2
    assert await keys(store) == [f"shards/{PREFIX}/{NAME}"]


async def test_sealed_shards_are_told_by_their_age(store, monkeypatch):
    monkeypatch.setattr("tracker.s3_objects._PAGE", 5)
    prefixes = sorted(shard_prefix(f"CC-{c}~{job}~{'a' * 32}") for c in "12" for job in range(4))
    for prefix in prefixes:
        await send(store, b"data", prefix=prefix)
        await store.seal(prefix, [entry(b"data")])
        await store.describe(prefix, "{}")
    assert [prefix async for prefix in store.sealed(3600)] == []
    assert [prefix async for prefix in store.sealed(-3600)] == prefixes


async def test_the_quota_counts_what_lies_there(moto, tmp_path, bucket):
    async with opened(moto, tmp_path, bucket) as store:
        assert await store.free_bytes() > 10_000  # the disk's
        await send(store, b"x" * 1000)
    async with opened(moto, tmp_path, bucket, quota=1500) as store:
        assert await store.free_bytes() == 500
    async with opened(moto, tmp_path, bucket, quota=10) as store:
        assert await store.free_bytes() == 0


async def test_a_bucket_keeps_its_first_name(store):
    assert await store.once("store-id", "first") == "first"
    assert await store.once("store-id", "second") == "first"


async def test_many_trackers_that_name_a_bucket_at_once_agree(store):
    names = await asyncio.gather(*(store.once("store-id", f"{n:032x}") for n in range(8)))
    assert len(set(names)) == 1


async def test_a_service_that_believes_everything_is_noticed_once(moto, tmp_path, bucket, caplog):
    caplog.set_level(logging.WARNING)
    async with opened(moto, tmp_path, bucket) as store:
        for data in (b"data", b"more"):
            await send(store, data)
            assert await present(store, entry(data))
    assert caplog.text.count("reads every file once more") == 1


async def test_a_strict_service_is_not_read_again(strict, caplog):
    store, door = strict
    await send(store, b"data")
    assert await present(store, entry(b"data"))
    assert store._hashes == {}
    assert "once more" not in caplog.text
    # what was tried on it
    assert door.refused == [
        "XAmzContentChecksumMismatch", *["SignatureDoesNotMatch"] * 3,
    ]  # fmt: skip


async def test_a_key_that_the_service_does_not_know_is_the_operators_trouble(
    moto, tmp_path, bucket
):
    async with StrictS3(moto).running() as endpoint:
        place = S3Place.parse(f"s3://{bucket}", endpoint, {})
        store = S3Store(place, Credentials(KEY_ID, "wrong"), tmp_path / "checks")
        file = entry(b"data")
        await store.put(PREFIX, NAME, body(b"data"), size=4, sha256=file.sha256)
        with pytest.raises(Unavailable, match="key, clock and endpoint"):
            await present(store, file)


async def test_a_service_that_is_away_is_waited_for(tmp_path, caplog):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        async with opened(endpoint, tmp_path, "bucket") as store:
            for asked in (store.check(), present(store, entry(b"x")), store.remove(PREFIX)):
                with pytest.raises(Unavailable) as refusal:
                    await asked
                assert refusal.value.retry_after
                assert "127.0.0.1" not in str(refusal.value)
    assert SECRET not in caplog.text


@pytest.mark.parametrize("name", ["../../x", ".hidden", "a/../../../x", "", "x\0", "a?b", "a#b"])
async def test_no_key_leads_out_of_the_store(tmp_path, name):
    store = S3Store(NOWHERE, Credentials(KEY_ID, SECRET), tmp_path)
    with pytest.raises(ValueError, match="key"):
        await store.present(PREFIX, name, size=1, sha256="0" * 64)
    with pytest.raises(ValueError, match="key"):
        await store.remove(f"CC-1/{name}")
    with pytest.raises(ValueError, match="key"):
        store.link(PREFIX, name)


async def test_the_sweep_takes_copies_that_a_killed_tracker_left(store, tmp_path):
    left = tmp_path / "checks" / "left"
    left.mkdir()
    (left / NAME).write_bytes(b"x")
    assert await store.sweep(3600) == 0
    assert await store.sweep(-3600) == 1
    assert not left.exists()


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("s3://", ""),
        ("s3://A_B/x", ""),
        ("http://bucket/x", ""),
        ("s3://bucket/../x", ""),
        ("s3://bucket/a//b", ""),
        ("s3://bucket", "example.org"),
        ("s3://bucket", "ftp://example.org"),
        ("s3://bucket", "https://example.org/path"),
        ("s3://bucket", "https://key:secret@example.org"),
    ],
)
def test_what_is_no_bucket_is_refused_without_repeating_a_secret(url, endpoint):
    with pytest.raises(BadStoreURL) as refusal:
        S3Place.parse(url, endpoint, {})
    assert "secret" not in str(refusal.value)


def test_a_place_is_amazons_unless_an_endpoint_is_named():
    place = S3Place.parse("s3://laion/crawls/", environment={"AWS_REGION": "eu-west-3"})
    assert (place.endpoint, place.prefix) == ("https://s3.eu-west-3.amazonaws.com", "crawls/")
    url = S3Signer(place, Credentials(KEY_ID, SECRET)).get("a", lifetime=timedelta(hours=1))
    assert url.startswith("https://s3.eu-west-3.amazonaws.com/laion/crawls/a?")
    assert SECRET not in url


async def test_a_worker_sends_a_file_into_a_slot(store, tmp_path):
    path = tmp_path / NAME
    path.write_bytes(b"data")
    endpoint = URL(store.slot(PREFIX, entry(b"data")).url)
    outside = ForeignStore("http://t", {("127.0.0.1", endpoint.port)}, "test")
    slot = store.slot(PREFIX, entry(b"data"))
    await outside.put(slot.url, slot.headers, path, size=4)
    assert await present(store, entry(b"data"))


async def test_a_service_that_never_answers_holds_nobody_up(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:  # takes calls, and no more
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with opened(endpoint, tmp_path, "bucket") as store:
            monkeypatch.setattr("tracker.s3_objects._SECONDS", 0.1)
            with pytest.raises(Unavailable, match="does not answer"):
                await store.remove(PREFIX)
            monkeypatch.setattr("tracker.s3_objects._SECONDS", 60)
            monkeypatch.setattr("tracker.s3_store._SHARD_SECONDS", 0.1)
            with pytest.raises(Unavailable, match="for one shard"):
                await store.seal(PREFIX, [entry(b"x")])
            with pytest.raises(Unavailable, match="for one shard"):
                async with store.checkout(PREFIX):
                    pass
