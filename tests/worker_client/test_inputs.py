"""Fetching an intermediate: from a store whose links grow old, and nothing but what was fetched."""

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from laion_protocol import (
    PRODUCTION_MODEL,
    Counts,
    FailureClass,
    FileEntry,
    Manifest,
    NotFound,
    SourceDigest,
    Stage,
)
from laion_protocol.client import NotATracker, TrackerClient
from laion_protocol.messages import HeldLeases, InputFile, Lease
from laion_protocol.shard_format import IMAGES_FILE, INTERMEDIATE_FILE
from tests.worker_client.little_web import little_recipe
from tests.worker_client.project import Said
from worker_client import patience
from worker_client.errors import trouble_of
from worker_client.foreign_store import ForeignStore
from worker_client.inputs import InputBroken, fetch_inputs

BODIES = {INTERMEDIATE_FILE: b"rows", IMAGES_FILE: b"pictures"}
LEASE = "CC-1~0~" + "0" * 32


class Store:
    """A tracker and its store in one: links of an earlier `round` are refused."""

    def __init__(self) -> None:
        self.round = 1
        self.asked: list[str] = []
        self.bodies = dict(BODIES)

    def lease(self, round: int, **changes) -> Lease:
        files = tuple(
            FileEntry(name=name, size=len(body), sha256=hashlib.sha256(body).hexdigest())
            for name, body in BODIES.items()
        )
        recipe = little_recipe(PRODUCTION_MODEL)
        fetched = Manifest(
            recipe_sha256=recipe.sha256, worker_version="0", filter_version="1", stage=Stage.FETCH,
            source=SourceDigest(path="x", part=0, parts=1, first_byte=0, end_byte=1,
                                pairs_sha256="0" * 64),
            counts=Counts(), files=files, seconds=1,
        )  # fmt: skip
        inputs = tuple(
            InputFile(**file.model_dump(), url=f"{self.url}/store/{round}/{file.name}")
            for file in files
        )
        lease = Lease(
            lease_id=LEASE, job="CC-1/0", source="x", part=0, parts=1, recipe=recipe,
            recipe_sha256=recipe.sha256, stage=Stage.SCORE, inputs=inputs, fetched=fetched,
            attempt=2, deadline=datetime.now(UTC), heartbeat_seconds=60,
        )  # fmt: skip
        return lease.model_copy(update=changes)

    async def held(self, request: web.Request) -> web.Response:
        return web.Response(text=HeldLeases(leases=(self.lease(self.round),)).model_dump_json())

    async def file(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        assert "Authorization" not in request.headers  # the token is the tracker's
        if int(request.match_info["round"]) != self.round:
            return web.Response(status=403, text="<Code>AccessDenied</Code>")
        if request.match_info["name"] not in self.bodies:
            return web.Response(status=404, text="<Code>NoSuchKey</Code>")
        return web.Response(body=self.bodies[request.match_info["name"]])


@pytest.fixture
async def store(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    monkeypatch.setattr(patience, "full_jitter", lambda **_: iter(lambda: 0.01, None))
    store, app = Store(), web.Application()
    app.router.add_get("/v1/leases", store.held)
    app.router.add_get("/store/{round}/{name}", store.file)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    store.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    store.endpoint = runner.addresses[0][:2]
    yield store
    await runner.cleanup()


async def fetch(store: Store, lease: Lease, directory: Path) -> None:
    foreign = ForeignStore(store.url, {store.endpoint}, "laion-worker/test")
    async with TrackerClient(store.url, "lw_a_b", patience=0) as client:
        await fetch_inputs(client, "box", lease, directory, foreign, Said())


async def test_a_link_that_has_grown_old_is_replaced_by_a_new_one(
    store: Store, tmp_path: Path
) -> None:
    lease = store.lease(1)
    store.round = 2
    await fetch(store, lease, tmp_path / "in")
    found = {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()}
    assert found == BODIES
    # one question renewed both links
    assert store.asked == [
        f"/store/1/{INTERMEDIATE_FILE}", f"/store/2/{INTERMEDIATE_FILE}", f"/store/2/{IMAGES_FILE}",
    ]  # fmt: skip


async def test_a_file_that_the_store_has_lost_fails_the_job_by_the_servers_fault(
    store: Store, tmp_path: Path
) -> None:
    del store.bodies[IMAGES_FILE]
    with pytest.raises(NotFound, match="has lost this file") as lost:
        await fetch(store, store.lease(1), tmp_path / "in")
    assert trouble_of(lost.value).failure_class is FailureClass.SERVER


@pytest.mark.parametrize("body", [b"pictured", b"pictur"])
async def test_a_file_that_is_never_right_is_given_up_and_not_kept(
    store: Store, tmp_path: Path, body: bytes
) -> None:
    store.bodies[IMAGES_FILE] = body
    with pytest.raises(InputBroken, match=r"images\.tar"):
        await fetch(store, store.lease(1), tmp_path / "in")
    assert [path.name for path in (tmp_path / "in").iterdir()] == [INTERMEDIATE_FILE]


async def test_a_lease_that_names_other_files_than_were_fetched_is_refused(
    store: Store, tmp_path: Path
) -> None:
    whole = store.lease(1)
    longer = whole.inputs[0].model_copy(update={"size": 2**24})
    for inputs in (whole.inputs[:1], (*whole.inputs, whole.inputs[0]), (longer, whole.inputs[1])):
        with pytest.raises(NotATracker, match="other files"):
            await fetch(store, store.lease(1, inputs=inputs), tmp_path / "in")
    assert not store.asked
