"""The whole pipeline over archives that hold pages and their images, images served from them."""

import csv
import io
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from laion_protocol import Manifest, Recipe
from tests.worker_client.archives import DATA, needs_data
from tests.worker_client.little_web import little_recipe, options_for, write_archive
from tests.worker_client.replay_server import ReplayServer
from tests.worker_client.tiny_clip import make_tiny_clip
from worker_client.disk import DiskFull
from worker_client.meter import Meter
from worker_client.pipeline.chain import ChainOptions, Interrupted, run_chunk
from worker_client.pipeline.download_settings import DownloadSettings
from worker_client.pipeline.lazy_model import NO_MODEL, LazyModel
from worker_client.pipeline.shard import ShardWriter
from worker_client.pipeline.source import Chunk
from worker_client.samples import Sample

REPLAY = sorted((DATA / "warc" / "replay").glob("*"))
MIN_SIDE, MIN_BYTES = 30, 700


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LazyModel:
    return LazyModel(*make_tiny_clip(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(autouse=True)
def impolite(monkeypatch: pytest.MonkeyPatch) -> None:
    """All these sites are one server of our own, which needs no pause between two requests."""
    polite = DownloadSettings.for_recipe

    def for_recipe(recipe: Recipe, **options: Any) -> DownloadSettings:
        return replace(polite(recipe, **options), per_host_delay=0.0, per_host=8)

    monkeypatch.setattr(DownloadSettings, "for_recipe", for_recipe)


def run(
    archive: Path, model: LazyModel, out: Path, server: ReplayServer, *, part: int = 0, parts=1
) -> tuple[Manifest, Meter]:
    recipe = Recipe(
        kind="warc",
        model=model.spec,
        min_text_chars=1,
        min_side=MIN_SIDE,
        min_image_bytes=MIN_BYTES,
    )
    options = ChainOptions(
        user_agent="laion-worker-tests/1 (+https://example.org/contact)",
        decode_processes=1,
        keep_all=True,
        connect_to=server.endpoint,
        allow_private=frozenset({server.endpoint}),
    )
    meter = Meter()
    chunk = Chunk(str(archive), part, parts)
    return run_chunk(chunk, recipe, model, out, options, meter, threading.Event()), meter


def usable(body: bytes | None) -> bool:
    """By Pillow and the byte length, apart from anything that the worker does."""
    if body is None or len(body) < MIN_BYTES:
        return False
    try:
        with Image.open(io.BytesIO(body)) as picture:
            picture.load()
            kind, size = picture.format, picture.size
    except (OSError, ValueError, SyntaxError):
        return False
    return kind in ("JPEG", "PNG", "WEBP", "GIF") and min(size) >= MIN_SIDE


def references(name: str) -> set[tuple[str, str]]:
    """The (URL, alt) pairs of every `<img src>` of the archive, as counted with other tools."""
    found = set()
    for path, columns in ((f"{name}.tsv", 0), (f"pairs_{name}.tsv", 1)):
        with (DATA / "truth" / path).open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            next(rows)
            found |= {(row[columns], row[columns + 1].strip()) for row in rows}
    return {(url, alt) for url, alt in found if alt}


def expected_pairs(archive: Path, server: ReplayServer) -> set[tuple[str, str]]:
    pairs = references(archive.name)
    good = {url for url in {url for url, _ in pairs} if usable(server.resolve(url))}
    return {(url, alt) for url, alt in pairs if url in good}


#: So that nothing is never compared with nothing.
LEAST = {"books.toscrape.warc": 20, "IAH-20080430204825-00000-blackbook.warc.gz": 5}


@needs_data
@pytest.mark.parametrize("archive", REPLAY, ids=lambda path: path.name)
def test_the_shard_holds_exactly_the_pairs_whose_images_the_archive_has(
    archive: Path, model: LazyModel, tmp_path: Path
) -> None:
    with ReplayServer(archive) as server:
        manifest, meter = run(archive, model, tmp_path, server)
    expected = expected_pairs(archive, server)
    assert len(expected) >= LEAST.get(archive.name, 0)

    rows = pq.read_table(tmp_path / "shard.parquet").to_pylist()
    plain = {(row["URL"], row["TEXT"]) for row in rows if row["source"] == "img"}
    assert plain == expected
    for row in rows:  # what only the deep mode sees says where it stood
        assert (row["URL"], row["TEXT"]) in expected or row["source"] != "img"
    counts = manifest.counts
    assert counts.kept == len(rows)
    assert counts.kept + sum(counts.drops.values()) == counts.pairs == meter.tally.pairs
    assert manifest == Manifest.model_validate_json((tmp_path / "manifest.json").read_bytes())
    if rows:
        assert manifest.model_sha256 == model.spec.weights_sha256


@needs_data
def test_the_parts_of_a_file_hold_together_what_the_whole_holds(
    model: LazyModel, tmp_path: Path
) -> None:
    (archive,) = [path for path in REPLAY if path.name == "frg.warc.gz"]
    with ReplayServer(archive) as server:
        whole, _ = run(archive, model, tmp_path / "whole", server)
        parts = [
            run(archive, model, tmp_path / str(part), server, part=part, parts=3)[0]
            for part in range(3)
        ]

    def pairs(name: str) -> set[tuple[str, str]]:
        table = pq.read_table(tmp_path / name / "shard.parquet", columns=["URL", "TEXT"])
        return {(row["URL"], row["TEXT"]) for row in table.to_pylist()}

    assert pairs("whole") == set().union(*(pairs(str(part)) for part in range(3)))
    assert whole.counts.pairs == sum(part.counts.pairs for part in parts)
    assert whole.counts.records == sum(part.counts.records for part in parts)
    # the digest is a sum, so that of the whole is that of its parts
    digests = sum(int(part.source.pairs_sha256, 16) for part in parts) % 2**256
    assert whole.source.pairs_sha256 == f"{digests:064x}"


@needs_data
def test_two_runs_agree_on_the_digest_and_on_every_row(model: LazyModel, tmp_path: Path) -> None:
    (archive,) = [path for path in REPLAY if path.name == "books.toscrape.warc"]
    with ReplayServer(archive) as server:
        first, _ = run(archive, model, tmp_path / "1", server)
        second, _ = run(archive, model, tmp_path / "2", server)
    assert first.source == second.source
    assert archive.stat().st_size - 4 <= first.source.end_byte <= archive.stat().st_size
    one, two = (pq.read_table(tmp_path / n / "shard.parquet").drop(["similarity"]) for n in "12")
    assert one.equals(two)


@needs_data
def test_a_stop_leaves_nothing_behind(model: LazyModel, tmp_path: Path) -> None:
    (archive,) = [path for path in REPLAY if path.name == "books.toscrape.warc"]
    stop = threading.Event()
    recipe = Recipe(kind="warc", model=model.spec)
    meter = Meter()

    class Stopping(LazyModel):
        def load(self):
            stop.set()  # in the midst of it
            return model.load()

    with ReplayServer(archive) as server:
        options = ChainOptions(
            user_agent="laion-worker-tests/1 (+https://example.org/contact)",
            decode_processes=1,
            connect_to=server.endpoint,
            allow_private=frozenset({server.endpoint}),
        )
        with pytest.raises(Interrupted):
            run_chunk(
                Chunk(str(archive), 0, 1),
                recipe,
                Stopping(model.spec),
                tmp_path / "out",
                options,
                meter,
                stop,
            )
    assert list((tmp_path / "out").iterdir()) == []


@needs_data
def test_a_chunk_without_pictures_asks_for_no_model(tmp_path: Path) -> None:
    class NoModel(LazyModel):
        def load(self):
            raise AssertionError("nobody needs it")

    archive = DATA / "warc" / "broken" / "warcio-example-bad.warc.gz.bad"
    model = NoModel(Recipe(kind="warc").model)
    with ReplayServer(DATA / "warc" / "commoncrawl" / "whirlwind.warc.gz") as server:
        manifest, _ = run(archive, model, tmp_path, server)
    assert manifest.counts.kept == 0
    assert manifest.model_sha256 == NO_MODEL


def test_a_disk_that_fills_up_ends_every_thread_and_process_of_the_pipeline(
    model: LazyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(writer: ShardWriter, sample: Sample) -> None:
        raise DiskFull("the disk is full")

    left: list[str] = []
    leave = ShardWriter.__exit__

    def leaving(writer: ShardWriter, *error: Any) -> None:  # after all stages but the source
        left.extend(t.name for t in set(threading.enumerate()) - before)
        leave(writer, *error)

    monkeypatch.setattr(ShardWriter, "add", full)
    monkeypatch.setattr(ShardWriter, "__exit__", leaving)
    archive = write_archive(tmp_path / "a.warc.gz", pictures=40)
    recipe = little_recipe(model.spec)
    before = set(threading.enumerate())
    with ReplayServer(archive) as server, pytest.raises(DiskFull):
        run_chunk(
            Chunk(str(archive), 0, 1),
            recipe,
            model,
            tmp_path / "out",
            options_for(server.endpoint, batch_size=1),
            Meter(),
            threading.Event(),
        )
    server_threads = ("process_request", "serve_forever")
    assert [name for name in left if not any(own in name for own in server_threads)] == []
    assert list((tmp_path / "out").iterdir()) == []
