"""The check of an intermediate, and of the shard that somebody made of it: every lie is named."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from laion_protocol import Counts, DropReason, Manifest, Recipe, Stage
from laion_protocol.picture_tar import END, packed
from laion_protocol.shard_format import FETCHED_COLUMNS, IMAGES_FILE, INTERMEDIATE_FILE
from tests.tracker.running import RECIPE
from tests.tracker.shards import Shard, entry, make_shard, row, write_parquet
from tracker.shard_check import check_shard
from tracker.verify import Begun, ShardChecker, Verdict

SIDE = 32
FETCHED_SCHEMA = pa.schema(
    [(name, pa.type_for_alias(kind)) for name, kind in FETCHED_COLUMNS.items()]
)


def webp(number: int = 0, size: tuple[int, int] = (SIDE, SIDE), mode: str = "RGB", **how) -> bytes:
    noise = np.random.default_rng(number).integers(0, 255, (*size[::-1], 3), np.uint8)
    buffer = io.BytesIO()
    image = Image.fromarray(noise).convert(mode)
    if mode == "RGBA":
        image.putalpha(100)
    image.save(buffer, **{"format": "WEBP", "lossless": True, "method": 0, **how})
    return buffer.getvalue()


def lengths(body: bytes) -> bytes:
    """The same bytes, under a header that tells of so many."""
    body += bytes(len(body) % 2)
    sizes = (len(body) - 8).to_bytes(4, "little"), (len(body) - 20).to_bytes(4, "little")
    return body[:4] + sizes[0] + body[8:16] + sizes[1] + body[20:]


def fetched_row(number: int, **changes) -> dict[str, Any]:
    return {k: v for k, v in row(number, **changes).items() if k in FETCHED_COLUMNS}


def make_intermediate(
    directory: Path,
    rows: list[dict[str, Any]] | None = None,
    pictures: list[bytes] | None = None,
    *,
    tar: bytes | None = None,
    schema: pa.Schema = FETCHED_SCHEMA,
    recipe: Recipe = RECIPE,
    side: int = SIDE,
) -> Shard:
    rows = [fetched_row(number) for number in range(3)] if rows is None else rows
    pictures = (
        [webp(number, (side, side)) for number in range(len(rows))]
        if pictures is None
        else pictures
    )
    shard = make_shard(directory, recipe)
    (directory / shard.files[0].name).unlink()
    write_parquet(directory / INTERMEDIATE_FILE, rows, schema)
    members = [packed(r["SAMPLE_ID"], p) for r, p in zip(rows, pictures, strict=False)]
    (directory / IMAGES_FILE).write_bytes(tar if tar is not None else b"".join(members) + END)
    manifest = Manifest.model_validate(
        shard.manifest.model_dump()
        | {
            "stage": Stage.FETCH,
            "model_sha256": None,
            "files": [entry(directory / INTERMEDIATE_FILE), entry(directory / IMAGES_FILE)],
            "counts": {"records": 20, "pages": 4, "pairs": len(rows) + 2, "kept": len(rows),
                       "drops": {DropReason.TIMEOUT: 2}},
        }
    )  # fmt: skip
    return Shard(directory, manifest)


def verdict(made: Shard, side: int | None = SIDE) -> Verdict:
    return check_shard(made.directory, made.manifest, RECIPE, side=side)


async def test_a_good_intermediate_is_accepted_in_the_confined_process(tmp_path: Path) -> None:
    made = make_intermediate(tmp_path)
    found = await ShardChecker().check(tmp_path, made.manifest, RECIPE, side=SIDE)
    assert (found.accepted, found.reason, found.rows) == (True, "", 3)
    assert found.bytes == sum(file.size for file in made.files)
    assert verdict(make_intermediate(tmp_path / "empty", [])).accepted


def test_a_crawl_whose_model_tells_no_side_has_no_intermediates(tmp_path: Path) -> None:
    assert "how large" in verdict(make_intermediate(tmp_path), None).reason


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (webp(size=(SIDE, SIDE + 1)), "not plain"),
        (webp(size=(8, 8)), "not plain"),
        (webp(mode="RGBA"), "not plain"),
        (webp(lossless=False), "not plain"),
        (webp(exif=b"Exif\0\0" + b"x" * 50), "not plain"),
        (webp(icc_profile=b"x" * 200), "not plain"),
        (webp(save_all=True, append_images=[Image.new("RGB", (SIDE, SIDE))]), "not plain"),
        (webp() + b"hidden", "not plain"),
        (webp(format="PNG"), "not plain"),
        (webp(format="JPEG"), "not plain"),
        (b"", "not plain"),
        (b"RIFF", "not plain"),
        (lengths(webp()[:700]), "cannot be decoded"),
        (lengths(webp()[:25]), "cannot be decoded"),
        (lengths(webp() + bytes(6000)), "over"),
    ],
)
def test_a_picture_that_no_worker_writes_is_refused(
    tmp_path: Path, picture: bytes, reason: str
) -> None:
    found = verdict(make_intermediate(tmp_path, pictures=[webp(0), picture, webp(2)]))
    assert not found.accepted
    assert reason in found.reason
    assert "hidden" not in found.reason


def test_rows_and_pictures_must_be_the_same(tmp_path: Path) -> None:
    rows = [fetched_row(number) for number in range(3)]
    assert (
        "1 rows have no picture"
        in verdict(make_intermediate(tmp_path / "few", rows, [webp(), webp()])).reason
    )
    twice = b"".join(packed(r["SAMPLE_ID"], webp()) for r in [*rows, rows[0]]) + END
    found = verdict(make_intermediate(tmp_path / "twice", rows, tar=twice))
    assert "picture 4 belongs to no row, or was there before" in found.reason
    other = packed(5, webp()) + END
    assert "picture 1" in verdict(make_intermediate(tmp_path / "other", rows, tar=other)).reason
    assert IMAGES_FILE in verdict(make_intermediate(tmp_path / "none", rows, tar=b"")).reason


def test_rows_of_an_intermediate_are_held_to_the_bounds_of_rows(tmp_path: Path) -> None:
    bad = [fetched_row(0), fetched_row(1, WIDTH=3)]
    assert "row 2: a side is under" in verdict(make_intermediate(tmp_path / "a", bad)).reason
    scored = [row(0), row(1)]
    whole = pa.schema([(k, pa.type_for_alias(v)) for k, v in _columns().items()])
    found = verdict(make_intermediate(tmp_path / "b", scored, schema=whole))
    assert "column" in found.reason
    made = make_intermediate(tmp_path / "c")
    made.manifest = made.manifest.model_copy(update={"files": made.files[:1]})
    assert "nothing else" in verdict(made).reason


def test_an_intermediate_is_no_shard_and_a_shard_no_intermediate(tmp_path: Path) -> None:
    made = make_intermediate(tmp_path / "a")
    made.manifest = made.manifest.model_copy(update={"stage": Stage.HYBRID})
    assert "nothing else" in verdict(made).reason
    shard = make_shard(tmp_path / "b", RECIPE)
    shard.manifest = shard.manifest.model_copy(update={"stage": Stage.FETCH})
    assert "nothing else" in verdict(shard).reason


def _columns() -> dict[str, str]:
    from laion_protocol.shard_format import COLUMNS

    return COLUMNS


# ── the shard that was made of it ────────────────────────────────────────────────────────────────


@dataclass
class Half:
    fetched: Shard
    scored: Shard

    def verdict(self) -> Verdict:
        begun = Begun(manifest=self.fetched.manifest, directory=self.fetched.directory)
        return check_shard(self.scored.directory, self.scored.manifest, RECIPE, begun=begun)


@pytest.fixture
def half(tmp_path: Path) -> Callable[..., Half]:
    """Three were fetched; of these two passed the score stage, unless `rows` says otherwise."""

    def make(rows: list[dict[str, Any]] | None = None, **counts) -> Half:
        fetched = make_intermediate(tmp_path / "fetched")
        rows = [row(0), row(2)] if rows is None else rows
        scored = make_shard(tmp_path / "scored", RECIPE, rows)
        drops = {DropReason.TIMEOUT: 2, DropReason.SIMILARITY: 3 - len(rows)}
        wanted = {"records": 20, "pages": 4, "pairs": 5, "kept": len(rows), "drops": drops}
        scored.manifest = scored.manifest.model_copy(
            update={"stage": Stage.SCORE, "counts": Counts(**wanted | counts)}
        )
        return Half(fetched, scored)

    return make


def test_a_shard_that_goes_on_from_its_intermediate_is_accepted(
    half: Callable[..., Half],
) -> None:
    found = half().verdict()
    assert (found.accepted, found.rows, found.bytes) == (True, 2, half().scored.files[0].size)
    assert half([]).verdict().accepted
    drops = {DropReason.TIMEOUT: 2, DropReason.DECODE_LIMIT: 1}
    assert half(drops=drops).verdict().accepted


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ({"records": 21}, "other records"),
        ({"pages": 5}, "other records"),
        ({"damage": {"record_broken": 1}}, "other records"),
        ({"pairs": 6, "drops": {"timeout": 2, "similarity": 2}}, "pairs"),
        ({"drops": {"timeout": 1, "similarity": 2}}, "dropped for timeout"),
        ({"drops": {"timeout": 3}}, "dropped for timeout"),
        ({"drops": {"timeout": 2, "dns": 1}}, "dropped for dns"),
    ],
)
def test_counts_that_do_not_go_on_are_refused(
    half: Callable[..., Half], counts: dict[str, Any], reason: str
) -> None:
    assert reason in half(**counts).verdict().reason


def test_another_chunk_or_filter_is_refused(half: Callable[..., Half]) -> None:
    made = half()
    other = made.scored.manifest.source.model_copy(update={"pairs_sha256": "c" * 64})
    made.scored.manifest = made.scored.manifest.model_copy(update={"source": other})
    assert "other pairs" in made.verdict().reason
    made = half()
    made.scored.manifest = made.scored.manifest.model_copy(update={"filter_version": "2"})
    assert "filter version" in made.verdict().reason


@pytest.mark.parametrize(
    "rows",
    [[row(0), row(3)], [row(0), row(2, WIDTH=641)], [row(0), row(2, sha256="e" * 64)]],
)
def test_a_row_that_was_not_fetched_is_refused(
    half: Callable[..., Half], rows: list[dict[str, Any]]
) -> None:
    assert "row 2: it is not one that was fetched" in half(rows).verdict().reason


def test_a_score_stage_without_an_intermediate_is_refused(half: Callable[..., Half]) -> None:
    made = half()
    found = check_shard(made.scored.directory, made.scored.manifest, RECIPE)
    assert "nobody knows of an intermediate" in found.reason
