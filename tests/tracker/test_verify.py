"""The check of a shard: what is right passes, every lie is named, no file breaks the tracker."""

import asyncio
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion_protocol import Recipe, SourceKind
from laion_protocol.shard_format import EMBEDDINGS_FILE, SHARD_FILE
from tests.tracker.running import RECIPE
from tests.tracker.shards import SCHEMA, entry, make_shard, row, write_parquet
from tracker.shard_check import check_shard
from tracker.verify import CheckerBroken, ShardChecker

WITH_VECTORS = RECIPE.model_copy(update={"embeddings": True})


def verdict(shard, recipe=RECIPE):
    return check_shard(shard.directory, shard.manifest, recipe)


def unit_vectors(rows, dimension=8):
    vectors = np.random.default_rng(1).normal(size=(rows, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def test_a_good_shard_is_accepted_with_its_counts(tmp_path):
    shard = make_shard(tmp_path, RECIPE)
    found = verdict(shard)
    assert (found.accepted, found.reason, found.rows) == (True, "", 5)
    assert found.bytes == shard.files[0].size


def test_a_shard_without_rows_is_a_result_too(tmp_path):
    assert verdict(make_shard(tmp_path, RECIPE, [])).accepted
    empty = make_shard(tmp_path / "v", WITH_VECTORS, [], vectors=np.zeros((0, 0), np.float16))
    assert verdict(empty, WITH_VECTORS).accepted


def test_rows_may_be_spread_over_numbered_files(tmp_path):
    def write(path, rows):
        write_parquet(path, rows[:2])
        write_parquet(path.with_name("shard-1.parquet"), rows[2:])

    shard = make_shard(tmp_path, RECIPE, write=write)
    assert "tells of 2 rows" in verdict(shard).reason
    both = (*shard.files, entry(tmp_path / "shard-1.parquet"))
    shard.manifest = shard.manifest.model_copy(update={"files": both})
    assert verdict(shard).accepted

    (tmp_path / "shard-1.parquet").rename(tmp_path / "shard-2.parquet")
    gap = (*shard.files[:1], entry(tmp_path / "shard-2.parquet"))
    shard.manifest = shard.manifest.model_copy(update={"files": gap})
    assert "nothing else" in verdict(shard).reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"URL": "ftp://example.org/x.jpg"}, "URL is not"),
        ({"URL": "https://example.org/" + "x" * 2000}, "URL is too long"),
        ({"TEXT": "abcd"}, "TEXT is too short"),
        ({"TEXT": "a" * 2001}, "TEXT is too long"),
        ({"SAMPLE_ID": 1}, "SAMPLE_ID"),
        ({"LICENSE": "CC"}, "LICENSE"),
        ({"NSFW": "maybe"}, "NSFW"),
        ({"NSFW": "UNTAGGED"}, "NSFW is not tagged"),
        ({"similarity": 0.19}, "similarity"),
        ({"similarity": 1.1}, "similarity"),
        ({"similarity": float("nan")}, "similarity"),
        ({"WIDTH": 63}, "under 64"),
        ({"HEIGHT": -1}, "under 64"),
        ({"WIDTH": 10_000, "HEIGHT": 10_000}, "more than 89478484"),
        ({"LANGUAGE": "klingon!"}, "LANGUAGE"),
        ({"page_url": "x" * 40_000}, "page_url"),
        ({"mime": "text/html"}, "mime"),
        ({"bytes": 99}, "bytes"),
        ({"bytes": 2**30}, "bytes"),
        ({"md5": "0" * 31}, "md5"),
        ({"sha256": "G" * 64}, "sha256"),
        ({"source": "guess"}, "source"),
        ({"TEXT": None}, "empty"),
    ],
)
def test_a_value_out_of_bounds_is_named_with_its_row(tmp_path, changes, reason):
    rows = [row(0), row(1, **changes) if changes != {"TEXT": None} else row(1) | changes]
    if rows[1]["URL"] < rows[0]["URL"]:
        rows.reverse()
    found = verdict(make_shard(tmp_path, RECIPE, rows))
    assert not found.accepted
    assert reason in found.reason
    assert "example.org" not in found.reason  # a stranger's text is shown to nobody


def test_a_language_outside_the_recipe_is_refused(tmp_path):
    german = RECIPE.model_copy(update={"languages": ("de",)})
    assert "LANGUAGE" in verdict(make_shard(tmp_path, german), german).reason


def test_rows_must_be_sorted_and_distinct(tmp_path):
    assert "sorted" in verdict(make_shard(tmp_path / "a", RECIPE, [row(1), row(0)])).reason
    assert "same URL" in verdict(make_shard(tmp_path / "b", RECIPE, [row(1), row(1)])).reason
    same_url = [row(1), row(1, TEXT="another text")]
    assert verdict(make_shard(tmp_path / "c", RECIPE, same_url)).accepted


def test_lying_counts_are_found(tmp_path):
    assert "tells of 5 rows" in verdict(make_shard(tmp_path, RECIPE, kept=6)).reason


def test_another_recipe_is_refused(tmp_path):
    other = Recipe(kind=SourceKind.WAT)
    assert "recipe" in verdict(make_shard(tmp_path, RECIPE), other).reason


def test_a_file_that_changed_after_the_manifest_is_found(tmp_path):
    shard = make_shard(tmp_path, RECIPE)
    path = tmp_path / SHARD_FILE
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    assert "SHA-256" in verdict(shard).reason
    path.write_bytes(data[:-1])
    assert "bytes of the manifest" in verdict(shard).reason


@pytest.mark.parametrize("rename", [{"TEXT": "caption"}, {"similarity": None}])
def test_another_schema_is_refused(tmp_path, rename):
    fields = [field.with_name(rename.get(field.name) or field.name) for field in SCHEMA]
    if None in rename.values():
        fields = [pa.field(f.name, pa.float64()) if f.name in rename else f for f in fields]

    def write(path, rows):
        renamed = [{rename.get(k) or k: v for k, v in one.items()} for one in rows]
        write_parquet(path, renamed, pa.schema(fields))

    assert "column" in verdict(make_shard(tmp_path, RECIPE, write=write)).reason


@pytest.mark.parametrize("cut", [0, 3, 100, -1])
def test_a_file_that_is_no_whole_parquet_is_refused(tmp_path, cut):
    def write(path, rows):
        write_parquet(path, rows)
        path.write_bytes(path.read_bytes()[:cut])

    found = verdict(make_shard(tmp_path, RECIPE, write=write))
    assert not found.accepted
    assert found.reason


def test_a_footer_that_claims_to_be_huge_is_not_read(tmp_path):
    def write(path, rows):
        path.write_bytes(b"PAR1" + b"\0" * 100 + (2**31 - 1).to_bytes(4, "little") + b"PAR1")

    assert "footer" in verdict(make_shard(tmp_path, RECIPE, write=write)).reason


def bomb(path, rows):
    """32 KiB on disk, a gigabyte in memory: one long text, said once, repeated by reference."""
    text = pa.array(["x" * 2**20])
    count = 1024
    columns = []
    for field in SCHEMA:
        if field.name == "TEXT":
            indices = pa.array([0] * count, pa.int32())
            columns.append(pa.DictionaryArray.from_arrays(indices, text))
        else:
            columns.append(pa.array([row(0)[field.name]] * count, field.type))
    table = pa.table(columns, names=SCHEMA.names)
    pq.write_table(table, path, compression="zstd", store_schema=False)


async def test_a_parquet_bomb_is_rejected_and_the_checker_lives(tmp_path):
    shard = make_shard(tmp_path, RECIPE, kept=1024, write=bomb)
    assert shard.files[0].size < 2**20
    checker = ShardChecker()
    found = await checker.check(tmp_path, shard.manifest, RECIPE)
    assert "unpack to more than" in found.reason
    good = make_shard(tmp_path / "good", RECIPE)
    assert (await checker.check(good.directory, good.manifest, RECIPE)).accepted


def test_embeddings_are_checked(tmp_path):
    def shard(name, vectors):
        return make_shard(tmp_path / name, WITH_VECTORS, vectors=vectors)

    assert verdict(shard("good", unit_vectors(5)), WITH_VECTORS).accepted
    for name, vectors in {
        "few": unit_vectors(4),
        "long": unit_vectors(5) * 2,
        "nan": unit_vectors(5) * np.float16("nan"),
        "type": unit_vectors(5).astype(np.float32),
        "flat": unit_vectors(5).reshape(-1),
    }.items():
        found = verdict(shard(name, vectors), WITH_VECTORS)
        assert EMBEDDINGS_FILE in found.reason, name
    missing = make_shard(tmp_path / "missing", WITH_VECTORS)
    assert "nothing else" in verdict(missing, WITH_VECTORS).reason


def test_a_pickle_in_the_embeddings_is_not_run(tmp_path):
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (open, (str(ran), "w"))

    directory = tmp_path / "shard"
    shard = make_shard(directory, WITH_VECTORS, vectors=unit_vectors(5))
    np.save(directory / EMBEDDINGS_FILE, np.array([Evil()], object), allow_pickle=True)
    files = (shard.files[0], entry(directory / EMBEDDINGS_FILE))
    shard.manifest = shard.manifest.model_copy(update={"files": files})
    assert not verdict(shard, WITH_VECTORS).accepted
    assert not ran.exists()


async def test_a_check_that_takes_too_long_is_a_rejection(tmp_path):
    shard = make_shard(tmp_path, RECIPE)
    found = await ShardChecker(seconds=0.01).check(tmp_path, shard.manifest, RECIPE)
    assert not found.accepted
    assert "longer than" in found.reason


async def test_a_checker_that_cannot_start_blames_no_shard(tmp_path, monkeypatch):
    shard = make_shard(tmp_path, RECIPE)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(CheckerBroken):
        await ShardChecker().check(tmp_path, shard.manifest, RECIPE)


async def test_the_check_sees_nothing_of_the_trackers_environment(tmp_path, monkeypatch):
    seen = []
    start = asyncio.create_subprocess_exec

    async def spy(*args, **options):
        seen.append(options["env"])
        return await start(*args, **options)

    monkeypatch.setenv("LAION_TRACKER_REDIS_URL", "redis://:secret@example.org")
    monkeypatch.setattr(asyncio, "create_subprocess_exec", spy)
    shard = make_shard(tmp_path, RECIPE)
    assert (await ShardChecker().check(tmp_path, shard.manifest, RECIPE)).accepted
    assert "secret" not in str(seen)
