"""A job done by two workers, one that fetches and one that scores, is the job done by one."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow.parquet as pq
import pytest
from redis.asyncio import Redis

from laion_protocol import Counts, DropReason, Manifest, Recipe, SourceDigest, Stage
from laion_protocol.client import TrackerClient
from laion_protocol.messages import InputFile, LeaseRequest
from laion_protocol.picture_tar import END, packed
from laion_protocol.shard_format import FETCHED_COLUMNS, IMAGES_FILE, INTERMEDIATE_FILE
from tests.tracker.running import until
from tests.worker_client.archives import DATA, needs_data
from tests.worker_client.little_web import little_recipe, options_for, write_archive
from tests.worker_client.project import Project, project
from tests.worker_client.replay_server import ReplayServer
from tests.worker_client.tiny_clip import CONFIG, make_tiny_clip
from worker_client.meter import Meter
from worker_client.pipeline import shard_files
from worker_client.pipeline.chain import Interrupted, fetch_chunk, run_chunk
from worker_client.pipeline.decode import Decoder
from worker_client.pipeline.download_settings import DownloadSettings
from worker_client.pipeline.fetched import FetchedWriter, encoded
from worker_client.pipeline.intermediate import Intermediate, IntermediateBroken
from worker_client.pipeline.lazy_model import LazyModel
from worker_client.pipeline.score_stage import score_intermediate
from worker_client.pipeline.shard_files import ShardTooLarge, TarFiles
from worker_client.pipeline.source import Chunk
from worker_client.samples import Decoded, Dropped, Pair

SIDE = CONFIG["model_cfg"]["vision_cfg"]["image_size"]
REPLAYED = DATA / "warc" / "replay" / "books.toscrape.warc"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LazyModel:
    return LazyModel(*make_tiny_clip(tmp_path_factory.mktemp("tiny")))


def fetch(chunk: Chunk, recipe: Recipe, out: Path, server: ReplayServer) -> Manifest:
    options = options_for(server.endpoint)
    return fetch_chunk(chunk, recipe, SIDE, out, options, Meter(), threading.Event())


def score(inputs: Path, made: Manifest, recipe: Recipe, model: LazyModel, out: Path) -> Manifest:
    options = options_for(("127.0.0.1", 9))  # nothing is fetched any more
    return score_intermediate(inputs, made, recipe, model, out, options, Meter(), threading.Event())


def rows_of(directory: Path) -> list[dict[str, Any]]:
    return pq.read_table(directory / "shard.parquet").to_pylist()


def assert_same(found: list[dict[str, Any]], wanted: list[dict[str, Any]], within: float) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert abs(one.pop("similarity") - other.pop("similarity")) <= within
        assert one == other


def test_fetch_and_score_make_the_shard_that_hybrid_makes(model: LazyModel, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "a.warc.gz", pictures=8)
    recipe = little_recipe(model.spec, safety=True, embeddings=True)
    chunk = Chunk(str(archive), 0, 1)
    with ReplayServer(archive) as server:
        made = fetch(chunk, recipe, tmp_path / "fetched", server)
        whole = run_chunk(
            chunk, recipe, model, tmp_path / "hybrid", options_for(server.endpoint), Meter(),
            threading.Event(),
        )  # fmt: skip
    assert (made.stage, made.model_sha256, made.counts.kept) == (Stage.FETCH, None, 8)
    scored = score(tmp_path / "fetched", made, recipe, model, tmp_path / "scored")
    assert (scored.stage, scored.model_sha256) == (Stage.SCORE, model.weights_sha256)
    assert scored.source == made.source == whole.source
    assert scored.counts == whole.counts
    assert [file.name for file in scored.files] == [file.name for file in whole.files]
    assert_same(rows_of(tmp_path / "scored"), rows_of(tmp_path / "hybrid"), within=1e-5)


@needs_data
def test_photographs_keep_their_similarity_on_the_way_through_an_intermediate(
    model: LazyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    polite = DownloadSettings.for_recipe

    def for_recipe(recipe: Recipe, **options: Any) -> DownloadSettings:
        return replace(polite(recipe, **options), per_host_delay=0.0, per_host=8)

    monkeypatch.setattr(DownloadSettings, "for_recipe", for_recipe)
    recipe = little_recipe(
        model.spec, min_side=30, min_image_bytes=700, min_text_chars=1, min_similarity=0.0
    )
    chunk = Chunk(str(REPLAYED), 0, 1)
    with ReplayServer(REPLAYED) as server:
        made = fetch(chunk, recipe, tmp_path / "fetched", server)
        whole = run_chunk(
            chunk, recipe, model, tmp_path / "hybrid", options_for(server.endpoint), Meter(),
            threading.Event(),
        )  # fmt: skip
    assert made.counts.kept >= 20
    scored = score(tmp_path / "fetched", made, recipe, model, tmp_path / "scored")
    # the drops of both stages add up; a score is never so near the threshold as to differ here
    assert scored.counts == whole.counts
    assert_same(rows_of(tmp_path / "scored"), rows_of(tmp_path / "hybrid"), within=1e-5)


def test_a_fetch_stage_never_imports_torch(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "a.warc.gz")
    program = f"""
import sys, threading
from pathlib import Path
from tests.worker_client.little_web import little_recipe, options_for
from tests.worker_client.replay_server import ReplayServer
from laion_protocol import PRODUCTION_MODEL
from laion_protocol.model_input import input_side
from worker_client.meter import Meter
from worker_client.making import Maker
from worker_client.pipeline.chain import fetch_chunk
from worker_client.pipeline.source import Chunk
archive = Path({str(archive)!r})
with ReplayServer(archive) as server:
    made = fetch_chunk(
        Chunk(str(archive), 0, 1), little_recipe(PRODUCTION_MODEL), input_side(PRODUCTION_MODEL),
        archive.parent / "out", options_for(server.endpoint), Meter(), threading.Event(),
    )
assert made.counts.kept == 3
assert not {{"torch", "open_clip"}} & set(sys.modules), "it needs no model"
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


# ── the writer and the reader ────────────────────────────────────────────────────────────────────


def decoded(number: int, side: int = SIDE) -> Decoded:
    pixels = np.random.default_rng(number).integers(0, 255, (side, side, 3), np.uint8)
    return Decoded(
        Pair(f"https://h/{number:04}", f"text {number}", "https://h/", source="lazy"),
        pixels, 640 + number, 480, "image/png", 9000, f"{number:032}", f"{number:064}",
    )  # fmt: skip


def write(directory: Path, items: list[Decoded]) -> Manifest:
    with FetchedWriter(directory) as writer:
        for item in items:
            writer.add(item)
        files = writer.finish()
    return Manifest(
        recipe_sha256="0" * 64, worker_version="0", filter_version="1", stage=Stage.FETCH,
        source=SourceDigest(path="x", part=0, parts=1, first_byte=0, end_byte=1,
                            pairs_sha256="0" * 64),
        counts=Counts(pairs=len(items), kept=len(items)), files=files, seconds=1,
    )  # fmt: skip


def read(directory: Path, manifest: Manifest) -> list[Decoded | Dropped]:
    rules = Recipe(kind="warc", formats=("webp",), min_side=SIDE, max_pixels=SIDE * SIDE)
    intermediate = Intermediate(directory, manifest, SIDE)
    with Decoder(rules, SIDE, processes=1) as decoder:
        return list(intermediate.restored(decoder.decode(intermediate.pictures())))


def test_what_is_read_back_is_what_was_written_to_the_last_pixel(tmp_path: Path) -> None:
    items = [decoded(number) for number in (3, 1, 2, 0)]
    manifest = write(tmp_path, items)
    assert [file.name for file in manifest.files] == [INTERMEDIATE_FILE, IMAGES_FILE]
    rows = pq.read_table(tmp_path / INTERMEDIATE_FILE)
    assert rows.column_names == list(FETCHED_COLUMNS)
    assert rows["URL"].to_pylist() == [f"https://h/{n:04}" for n in range(4)]  # sorted, as shards
    found = {item.pair: item for item in read(tmp_path, manifest)}
    for item in items:
        back = found[item.pair]
        assert np.array_equal(back.pixels, item.pixels)
        assert replace(back, pixels=item.pixels) == item


def test_many_pictures_become_several_tars_under_the_size_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_files, "MAX_FILE_BYTES", 40_000)
    monkeypatch.setattr(shard_files, "_MARGIN", 0)
    items = [decoded(number) for number in range(30)]
    manifest = write(tmp_path, items)
    tars = [file for file in manifest.files if file.name.endswith(".tar")]
    assert [file.name for file in tars][:2] == ["images.tar", "images-1.tar"]
    assert all(file.size <= 40_000 for file in tars)
    assert len(read(tmp_path, manifest)) == 30
    monkeypatch.setattr(TarFiles, "MOST", 1)
    with pytest.raises(ShardTooLarge, match="more parts"):
        write(tmp_path / "other", items)
    assert list((tmp_path / "other").iterdir()) == []


@pytest.mark.parametrize(
    "harm",
    [
        lambda d: (d / IMAGES_FILE).write_bytes((d / IMAGES_FILE).read_bytes()[:-600]),
        lambda d: (d / IMAGES_FILE).write_bytes(packed(5, b"x") + END),
        lambda d: (d / IMAGES_FILE).write_bytes(END),
        lambda d: (d / INTERMEDIATE_FILE).write_bytes(b"PAR1" * 3),
        lambda d: pq.write_table(
            pq.read_table(d / INTERMEDIATE_FILE).slice(1), d / INTERMEDIATE_FILE
        ),
        lambda d: pq.write_table(
            pq.read_table(d / INTERMEDIATE_FILE).drop(["md5"]), d / INTERMEDIATE_FILE
        ),
    ],
)
def test_files_that_do_not_fit_together_are_told_of(
    tmp_path: Path, harm: Callable[[Path], object]
) -> None:
    manifest = write(tmp_path, [decoded(0), decoded(1)])
    harm(tmp_path)
    with pytest.raises(IntermediateBroken):
        read(tmp_path, manifest)


def test_a_picture_that_does_not_decode_is_a_drop_like_any_other(
    model: LazyModel, tmp_path: Path
) -> None:
    manifest = write(tmp_path, [decoded(0), decoded(1)])
    ids = pq.read_table(tmp_path / INTERMEDIATE_FILE)["SAMPLE_ID"].to_pylist()
    pictures = packed(ids[0], encoded(decoded(0).pixels)) + packed(ids[1], b"RIFF0000WEBPno") + END
    (tmp_path / IMAGES_FILE).write_bytes(pictures)
    scored = score(tmp_path, manifest, little_recipe(model.spec), model, tmp_path / "out")
    assert (scored.counts.kept, scored.counts.drops) == (1, {DropReason.BROKEN_IMAGE: 1})


def test_a_score_stage_stops_when_told_and_leaves_nothing(model: LazyModel, tmp_path: Path) -> None:
    manifest = write(tmp_path, [decoded(number) for number in range(3)])
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted):
        score_intermediate(
            tmp_path, manifest, little_recipe(model.spec), model, tmp_path / "out",
            options_for(("127.0.0.1", 9)), Meter(), stop,
        )  # fmt: skip
    assert list((tmp_path / "out").iterdir()) == []


def test_an_intermediate_without_pictures_is_scored_without_a_model(tmp_path: Path) -> None:
    spec, _ = make_tiny_clip(tmp_path)
    nobody = LazyModel(spec, None)  # whoever loads it fails
    manifest = write(tmp_path, [])
    scored = score(tmp_path, manifest, little_recipe(spec), nobody, tmp_path / "out")
    assert scored.counts.kept == 0
    assert rows_of(tmp_path / "out") == []


# ── two workers and a tracker ────────────────────────────────────────────────────────────────────


async def until_counted(p: Project, **wanted: int) -> None:
    async with asyncio.timeout(40):
        while wanted.items() - (await p.stats()).jobs.model_dump().items():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_one_worker_fetches_what_another_scores(
    redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    async with project(redis, redis_url, tmp_path, checkers=1) as p:
        await p.run(stages=(Stage.FETCH,))
        assert "3 of 3 pairs fetched" in p.said
        assert "fetching the model (json)" in p.said
        assert "fetching the model (safetensors)" not in p.said
        await until_counted(p, pending=1, verifying=0)
        assert (await p.stats()).kept == 0
        other = await p.tracker.account("bob")
        changes = {"state": tmp_path / "bob", "token": other, "worker": "gpu"}
        await p.run(stages=(Stage.SCORE,), **changes)
        assert "score stage" in p.said
        assert "3 of 3 pairs kept" in p.said
        await until_counted(p, accepted=1)
        stats = await p.stats()
        assert (stats.kept, stats.pairs) == (3, 3)
        # the shard stays, the intermediate is gone, and nothing is left on either machine
        kept = sorted(f.name for f in (tmp_path / "data" / "shards").rglob("*") if f.is_file())
        assert kept == ["manifest.json", "shard.parquet"]
        for state in (tmp_path / "state", tmp_path / "bob"):
            assert not [f for f in (state / "jobs").rglob("*") if f.is_file()]


async def test_inputs_that_come_wrong_are_the_trackers_fault(
    redis: Redis, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    garbled = [6]
    really = TrackerClient.fetch_input

    async def fetch_input(client: TrackerClient, file: InputFile, to: BinaryIO) -> None:
        await really(client, file, to)
        if file.name == IMAGES_FILE and garbled[0]:
            garbled[0] -= 1
            to.seek(100)
            to.write(b"!")

    monkeypatch.setattr(TrackerClient, "fetch_input", fetch_input)
    async with project(redis, redis_url, tmp_path, checkers=1) as p:
        await p.run(stages=(Stage.FETCH,))
        await until_counted(p, pending=1, verifying=0)
        await p.run(stages=(Stage.SCORE,))
        assert (
            "failed (server): images.tar of the intermediate comes with another SHA-256" in p.said
        )
        assert garbled == [1]
        await p.run(stages=(Stage.SCORE,))  # one more wrong one is nothing
        await until_counted(p, accepted=1)


async def test_a_lease_for_another_stage_than_this_worker_does_is_handed_back(
    redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    async with project(redis, redis_url, tmp_path) as p:
        client = await p.worker_client()
        await client.lease(LeaseRequest(worker="box", version="0"))
        running = asyncio.create_task(p.run(stages=(Stage.SCORE,), most_jobs=None))
        await until(lambda: "nothing" in p.said or "no job now" in p.said)
        p.interrupt.ask()
        await running
        assert "this worker does no hybrid stage" in p.said
        assert "handed back" in p.said
        assert (await p.stats()).jobs.leased == 0
