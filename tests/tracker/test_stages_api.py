"""A job in two halves, over HTTP: who may hand in what, and what becomes of the intermediate."""

import asyncio
import hashlib
import shutil
from pathlib import Path

import pytest

from laion_protocol import (
    IdleReason,
    InvalidRequest,
    JobState,
    Manifest,
    ModelSpec,
    NotFound,
    Outcome,
    Stage,
)
from laion_protocol.client import TrackerClient
from laion_protocol.messages import Completion, Lease, LeaseRequest, Release
from laion_protocol.shard_format import IMAGES_FILE, SHARD_FILE
from tests.tracker.conftest import StartTracker
from tests.tracker.running import RECIPE, Tracker
from tests.tracker.shards import Shard, make_shard, row
from tests.tracker.test_intermediate_check import make_intermediate
from tracker import model_sides

#: A model known by name, so that the tracker knows its side; pictures of it are small to make.
SIDE = 224
COUNTS = {"records": 20, "pages": 4, "pairs": 5}


async def lease(client: TrackerClient, *stages: Stage) -> Lease | None:
    request = LeaseRequest(worker="pc", version="0.1.0", stages=stages)
    return (await client.lease(request)).lease


async def send(client: TrackerClient, held: Lease, made: Shard) -> None:
    plan = await client.plan_uploads(held.lease_id, made.files)
    for slot in plan.slots:
        await client.upload_file(slot, made.directory / slot.name)
    await client.complete(held.lease_id, Completion(manifest=made.manifest))


async def outcome(client: TrackerClient, held: Lease) -> tuple[JobState, Outcome | None, str]:
    async with asyncio.timeout(40):
        while (receipt := await client.receipt(held.lease_id)).outcome is None:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return receipt.state, receipt.outcome, receipt.message


def fetched(directory: Path, held: Lease, **changes) -> Shard:
    made = make_intermediate(directory, side=SIDE)
    return of(made, held, **changes)


def of(made: Shard, held: Lease, **changes) -> Shard:
    source = made.manifest.source.model_copy(
        update={"path": held.source, "part": held.part, "parts": held.parts}
    )
    raw = made.manifest.model_dump() | {"source": source} | changes
    made.manifest = Manifest.model_validate(raw)
    return made


def scored(directory: Path, held: Lease, rows: list[dict]) -> Shard:
    drops = {"timeout": 2, "similarity": 3 - len(rows)}
    counts = COUNTS | {"kept": len(rows), "drops": drops}
    return of(make_shard(directory, RECIPE, rows), held, stage=Stage.SCORE, counts=counts)


@pytest.fixture
async def tracker(start: StartTracker) -> Tracker:
    tracker = await start(checkers=1)
    await tracker.add_crawl(files=1)
    return tracker


async def test_a_job_is_fetched_by_one_and_scored_by_another(
    tracker: Tracker, tmp_path: Path
) -> None:
    ann, bob = await tracker.worker("ann"), await tracker.worker("bob")
    assert await lease(bob, Stage.SCORE) is None  # nothing was fetched yet
    first = await lease(ann, Stage.FETCH)
    assert first is not None
    assert (first.stage, first.inputs, first.fetched) == (Stage.FETCH, (), None)
    half = fetched(tmp_path / "half", first)
    await send(ann, first, half)
    assert (await outcome(ann, first))[:2] == (JobState.PENDING, Outcome.OK)
    assert await lease(ann, Stage.FETCH) is None  # what waits is for whoever can score

    second = await lease(bob, Stage.SCORE)
    assert second is not None
    assert (second.stage, second.fetched) == (Stage.SCORE, half.manifest)
    assert {(f.name, f.sha256) for f in second.inputs} == {(f.name, f.sha256) for f in half.files}
    for file in second.inputs:
        with (tmp_path / file.name).open("wb") as to:
            await bob.fetch_input(file, to)
        assert (tmp_path / file.name).read_bytes() == (half.directory / file.name).read_bytes()
    with pytest.raises(NotFound), (tmp_path / "stolen").open("wb") as to:
        await ann.fetch_input(second.inputs[0], to)  # they are the holder's, not the fetcher's

    await send(bob, second, scored(tmp_path / "whole", second, [row(0), row(2)]))
    assert (await outcome(bob, second))[:2] == (JobState.ACCEPTED, Outcome.OK)
    kept = [f.name for f in (tracker.settings.data / "shards").rglob("*") if f.is_file()]
    assert sorted(kept) == ["manifest.json", "shard.parquet"]


async def test_a_lease_hands_in_what_its_stage_makes_and_nothing_else(
    tracker: Tracker, tmp_path: Path
) -> None:
    ann = await tracker.worker()
    held = await lease(ann, Stage.FETCH)
    assert held is not None
    shard = of(make_shard(tmp_path / "shard", RECIPE), held)
    with pytest.raises(InvalidRequest, match=f"{SHARD_FILE}: a fetch lease .* hands in fetched"):
        await ann.plan_uploads(held.lease_id, shard.files)
    with pytest.raises(InvalidRequest, match="the lease is for fetch, the manifest is of hybrid"):
        await ann.complete(held.lease_id, Completion(manifest=shard.manifest))


async def test_a_hybrid_lease_takes_no_intermediate(tracker: Tracker, tmp_path: Path) -> None:
    ann = await tracker.worker()
    held = await lease(ann, Stage.HYBRID, Stage.FETCH)
    assert held is not None
    assert held.stage is Stage.HYBRID
    half = fetched(tmp_path / "half", held)
    with pytest.raises(InvalidRequest, match=IMAGES_FILE.split(".")[0]):
        await ann.plan_uploads(held.lease_id, half.files[1:])
    with pytest.raises(InvalidRequest, match="the lease is for hybrid"):
        await ann.complete(held.lease_id, Completion(manifest=half.manifest))


async def test_pictures_of_another_size_are_rejected_by_the_side_of_the_crawls_model(
    tracker: Tracker, tmp_path: Path
) -> None:
    ann = await tracker.worker()
    held = await lease(ann, Stage.FETCH)
    assert held is not None
    await send(ann, held, of(make_intermediate(tmp_path / "small"), held))
    state, ended, message = await outcome(ann, held)
    assert (state, ended) == (JobState.PENDING, Outcome.INVALID)
    assert "not plain lossless WebP of 224 x 224 pixels" in message


@pytest.fixture
async def to_score(tracker: Tracker, tmp_path: Path) -> tuple[TrackerClient, Lease]:
    """Bob, and his lease of what Ann has fetched."""
    ann, bob = await tracker.worker("ann"), await tracker.worker("bob")
    first = await lease(ann, Stage.FETCH)
    assert first is not None
    await send(ann, first, fetched(tmp_path / "half", first))
    await outcome(ann, first)
    held = await lease(bob, Stage.SCORE)
    assert held is not None
    return bob, held


async def test_an_intermediate_that_the_tracker_lost_costs_the_scorer_nothing(
    tracker: Tracker, to_score: tuple[TrackerClient, Lease], tmp_path: Path
) -> None:
    bob, held = to_score
    (images,) = (tracker.settings.data / "shards").rglob(IMAGES_FILE)
    shutil.rmtree(images.parent)
    with pytest.raises(NotFound, match="has lost this file"), (tmp_path / "x").open("wb") as to:
        await bob.fetch_input(held.inputs[0], to)
    await send(bob, held, scored(tmp_path / "whole", held, [row(0)]))
    assert (await outcome(bob, held))[:2] == (JobState.ACCEPTED, Outcome.OK)


async def test_a_rejected_score_keeps_the_intermediate_for_the_next_worker(
    tracker: Tracker, to_score: tuple[TrackerClient, Lease], tmp_path: Path
) -> None:
    bob, held = to_score
    await send(bob, held, scored(tmp_path / "invented", held, [row(0), row(7)]))
    _, ended, message = await outcome(bob, held)
    assert ended is Outcome.INVALID
    assert "row 2: it is not one that was fetched" in message
    kept = {f.name for f in (tracker.settings.data / "shards").rglob("*") if f.is_file()}
    assert IMAGES_FILE in kept


async def test_a_crawl_whose_model_tells_no_side_is_fetched_by_nobody_until_it_does(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = b'{"embed_dim": 8, "text_cfg": {}, "vision_cfg": {"image_size": 224}}'
    sha256 = hashlib.sha256(config).hexdigest()
    model = ModelSpec(architecture="tiny", config_sha256=sha256, weights_sha256="1" * 64)
    await tracker.add_crawl(name="CC-DARK", recipe=RECIPE.model_copy(update={"model": model}))
    await (await tracker.admin()).pause_crawl("CC-1")
    ann = await tracker.worker("ann")
    for stages in ((Stage.FETCH,), (Stage.FETCH, Stage.SCORE)):
        answer = await ann.lease(LeaseRequest(worker="pc", version="0.1.0", stages=stages))
        assert answer.idle is not None
        assert answer.idle.reason is IdleReason.NO_WORK
        assert "nobody can fetch for CC-DARK" in answer.idle.message
    whole = await lease(ann, Stage.HYBRID)
    assert whole is not None
    await ann.release(whole.lease_id, Release(reason="no"))
    monkeypatch.setattr(model_sides, "_LOOK_AGAIN", 0)
    file = tracker.settings.data / "config.json"
    file.write_bytes(config)
    await (await tracker.admin()).put_file(sha256, file)
    assert await lease(ann, Stage.FETCH) is not None
