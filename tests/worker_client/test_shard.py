import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion_protocol import Counts, Manifest, SourceDigest
from laion_protocol.shard_format import COLUMNS, MAX_FILE_BYTES
from worker_client.disk import DiskFull, OutputRefused
from worker_client.pipeline import shard_files
from worker_client.pipeline.shard import (
    MANIFEST_FILE,
    SCHEMA,
    ShardWriter,
    sample_id,
    write_manifest,
)
from worker_client.pipeline.shard_files import ParquetFiles, ShardTooLarge
from worker_client.samples import Decoded, Pair, Sample


def sample(url: str, text: str = "a red chair", number: int = 0, dimension: int = 0) -> Sample:
    body = url.encode()
    return Sample(
        decoded=Decoded(
            pair=Pair(url, text, "https://page.example/", "", "lazy", "en"),
            pixels=np.zeros((2, 2, 3), np.uint8),
            width=640,
            height=480,
            mime="image/jpeg",
            bytes=6000 + number,
            md5=hashlib.md5(body, usedforsecurity=False).hexdigest(),
            sha256=hashlib.sha256(body).hexdigest(),
        ),
        similarity=0.5,
        nsfw="UNLIKELY",
        embedding=np.full(dimension, number, np.float16) if dimension else None,
    )


def manifest_of(files: tuple, kept: int) -> Manifest:
    return Manifest(
        recipe_sha256="0" * 64,
        worker_version="1",
        filter_version="1",
        model_sha256="0" * 64,
        source=SourceDigest(
            path="x", part=0, parts=1, first_byte=0, end_byte=1, pairs_sha256="0" * 64
        ),
        counts=Counts(pairs=kept, kept=kept),
        files=files,
        seconds=1,
    )


def test_a_shard_holds_each_sample_in_the_columns_of_the_protocol_sorted_by_url(
    tmp_path: Path,
) -> None:
    with ShardWriter(tmp_path / "new" / "dir") as writer:
        for url, text in [("https://b/", "x" * 9), ("https://é/", "y"), ("https://a/", "z")]:
            writer.add(sample(url, text))
        writer.add(sample("https://b/", "a b"))
        files = writer.finish()

    (entry,) = files
    path = tmp_path / "new" / "dir" / "shard.parquet"
    assert entry.name == "shard.parquet"
    assert entry.size == path.stat().st_size
    assert entry.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    table = pq.read_table(path)
    assert {f.name: str(f.type) for f in table.schema} == {
        name: str(pa.type_for_alias(kind)) for name, kind in COLUMNS.items()
    }
    rows = table.to_pylist()
    assert [(r["URL"], r["TEXT"]) for r in rows] == [
        ("https://a/", "z"), ("https://b/", "a b"), ("https://b/", "x" * 9), ("https://é/", "y"),
    ]  # fmt: skip
    assert rows[0] == {
        "SAMPLE_ID": sample_id("https://a/", "z"),
        "URL": "https://a/",
        "TEXT": "z",
        "LICENSE": "",
        "NSFW": "UNLIKELY",
        "similarity": 0.5,
        "WIDTH": 640,  # a picture that is not square: LAION's releases have these two swapped
        "HEIGHT": 480,
        "LANGUAGE": "en",
        "page_url": "https://page.example/",
        "mime": "image/jpeg",
        "bytes": 6000,
        "md5": hashlib.md5(b"https://a/", usedforsecurity=False).hexdigest(),
        "sha256": hashlib.sha256(b"https://a/").hexdigest(),
        "source": "lazy",
    }
    assert sorted(p.name for p in path.parent.iterdir()) == ["shard.parquet"]


def test_the_sample_id_is_the_first_63_bits_of_a_sha256() -> None:
    # by `printf 'https://a/\nz' | sha256sum`: the first 16 hex digits, halved
    assert sample_id("https://a/", "z") == 0x7F11C4A8D790E825 // 2
    assert all(0 <= sample_id("https://a/", str(n)) < 2**63 for n in range(100))


def test_the_parquet_is_packed_as_measured_best(tmp_path: Path) -> None:
    with ShardWriter(tmp_path) as writer:
        for number in range(12_000):
            writer.add(sample(f"https://host.example/{number:06}.jpg"))
        writer.finish()
    metadata = pq.ParquetFile(tmp_path / "shard.parquet").metadata
    assert [metadata.row_group(i).num_rows for i in range(2)] == [10_000, 2_000]
    columns = {
        metadata.row_group(0).column(i).path_in_schema: metadata.row_group(0).column(i)
        for i in range(metadata.num_columns)
    }
    assert {c.compression for c in columns.values()} == {"ZSTD"}
    assert "DELTA_BYTE_ARRAY" in columns["URL"].encodings
    assert {name for name, c in columns.items() if c.has_dictionary_page} == {
        "LANGUAGE", "NSFW", "LICENSE", "mime", "source",
    }  # fmt: skip


def test_embeddings_stand_in_the_order_of_the_rows(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, embeddings=True) as writer:
        for number in range(5000):
            scattered = number * 7919 % 5000
            writer.add(sample(f"https://h/{scattered:05}", number=scattered, dimension=4))
        files = writer.finish()
    assert [f.name for f in files] == ["shard.parquet", "image_embeddings.npy"]
    vectors = np.load(tmp_path / "image_embeddings.npy")
    assert vectors.dtype == np.float16
    urls = pq.read_table(tmp_path / "shard.parquet").column("URL").to_pylist()
    assert urls == [f"https://h/{n:05}" for n in range(5000)]
    wanted = np.repeat(np.arange(5000, dtype=np.float16)[:, None], 4, axis=1)
    assert np.array_equal(vectors, wanted)


@pytest.mark.parametrize("embeddings", [False, True])
def test_a_shard_without_rows_is_valid(tmp_path: Path, embeddings: bool) -> None:
    with ShardWriter(tmp_path, embeddings=embeddings) as writer:
        files = writer.finish()
    table = pq.read_table(tmp_path / "shard.parquet")
    assert (table.num_rows, table.column_names) == (0, list(COLUMNS))
    if embeddings:
        assert np.load(tmp_path / "image_embeddings.npy").shape[0] == 0
    assert len(files) == 1 + embeddings


def test_an_earlier_shard_in_the_directory_is_replaced_whole(tmp_path: Path) -> None:
    for name in ("manifest.json", "shard-1.parquet", "image_embeddings.npy", "shard.parquet"):
        (tmp_path / name).write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    with ShardWriter(tmp_path) as writer:
        writer.add(sample("https://a/"))
        files = writer.finish()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes.txt", "shard.parquet"]
    write_manifest(tmp_path, manifest_of(files, 1))
    assert Manifest.model_validate_json((tmp_path / MANIFEST_FILE).read_bytes()).counts.kept == 1


def test_an_unfinished_shard_leaves_nothing_and_keeps_the_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "shard.parquet").write_text("old")
    with pytest.raises(RuntimeError, match="somewhere"), ShardWriter(tmp_path) as writer:
        writer.add(sample("https://a/"))
        raise RuntimeError("somewhere upstream")
    assert [p.name for p in tmp_path.iterdir()] == ["shard.parquet"]
    assert (tmp_path / "shard.parquet").read_text() == "old"


def test_a_large_shard_becomes_several_files_under_the_size_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 6 * 2**20
    monkeypatch.setattr(shard_files, "MAX_FILE_BYTES", limit)
    monkeypatch.setattr(shard_files, "_GROUP_BYTES", 2**20)
    monkeypatch.setattr(shard_files, "_MARGIN", 3 * 2**20)
    random = np.random.default_rng(1)
    rows = 12_000
    with ShardWriter(tmp_path, embeddings=True) as writer:
        for number in range(rows):
            text = random.bytes(500).hex()
            writer.add(sample(f"https://h/{number:05}", text, number % 2000, dimension=600))
        files = writer.finish()
    names = [f.name for f in files]
    assert {"shard.parquet", "shard-1.parquet", "image_embeddings-1.npy"} <= set(names)
    assert all(f.size <= limit for f in files)
    parquets = [tmp_path / n for n in names if n.endswith("parquet")]
    urls = [u for p in parquets for u in pq.read_table(p).column("URL").to_pylist()]
    assert urls == [f"https://h/{n:05}" for n in range(rows)]
    vectors = np.concatenate([np.load(tmp_path / n) for n in names if n.endswith("npy")])
    assert vectors.shape == (rows, 600)
    assert vectors[:, 0].tolist() == [n % 2000 for n in range(rows)]


def test_a_shard_beyond_all_bounds_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ParquetFiles, "MOST", 1)
    monkeypatch.setattr(shard_files, "_MOST_GROUPS", 1)
    empty = pa.table({name: [] for name in COLUMNS}, schema=SCHEMA)
    with pytest.raises(ShardTooLarge, match="more parts"):  # noqa: SIM117
        with ParquetFiles(tmp_path, "shard.parquet", SCHEMA) as files:
            files.write(empty)
            files.write(empty)


def test_the_real_limit_leaves_room_for_a_row_group_that_does_not_compress() -> None:
    assert shard_files._GROUP_BYTES + 2**20 <= shard_files._MARGIN < MAX_FILE_BYTES / 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)]
    if os.name != "posix" or not shutil.which("mount") or os.geteuid() != 0:
        pytest.skip("a full disk needs root, to mount a tmpfs of 1 MiB")
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a full disk needs a machine where a tmpfs of 1 MiB can be mounted")
    try:
        yield mount
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_a_full_disk_is_told_in_one_sentence_and_nothing_half_is_left(small_disk: Path) -> None:
    out = small_disk / "out"
    with pytest.raises(DiskFull, match=r"out is full; free some space"):  # noqa: SIM117
        with ShardWriter(out) as writer:
            for number in range(10_000):
                writer.add(sample(f"https://h/{number:05}", os.urandom(100).hex()))
            writer.finish()
    assert list(out.iterdir()) == []


def test_a_disk_that_fills_up_at_the_manifest_leaves_no_manifest(small_disk: Path) -> None:
    with ShardWriter(small_disk) as writer:
        writer.add(sample("https://a/"))
        files = writer.finish()
    room = os.statvfs(small_disk)
    (small_disk / "ballast").write_bytes(b"\0" * (room.f_bavail * room.f_bsize))
    with pytest.raises(DiskFull):
        write_manifest(small_disk, manifest_of(files, 1))
    assert sorted(p.name for p in small_disk.iterdir()) == ["ballast", "shard.parquet"]


def test_a_directory_that_is_a_file_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputRefused, match="choose another directory"):
        ShardWriter(tmp_path / "file").__enter__()


def test_the_manifest_is_json_that_reads_back(tmp_path: Path) -> None:
    with ShardWriter(tmp_path) as writer:
        manifest = manifest_of(writer.finish(), 0)
    write_manifest(tmp_path, manifest)
    raw = (tmp_path / MANIFEST_FILE).read_text()
    assert json.loads(raw)["counts"]["kept"] == 0
    assert Manifest.model_validate_json(raw) == manifest
