from pathlib import Path

import pytest

from laion_protocol import (
    Counts,
    JobState,
    LeaseLost,
    Manifest,
    Outcome,
    SourceDigest,
    StorageFull,
    Unavailable,
    UploadMismatch,
)
from laion_protocol.client import NotATracker
from laion_protocol.manifest import FileEntry
from laion_protocol.messages import Completion, Receipt, UploadPlan, UploadSlot
from tests.worker_client.project import Said
from worker_client import patience, upload
from worker_client.foreign_store import ForeignStore, StoreRefused
from worker_client.upload import deliver

NAMES = ("shard.parquet", "image_embeddings.npy")
STORE = ForeignStore("https://tracker.example", (), "test")


def manifest() -> Manifest:
    return Manifest(
        recipe_sha256="0" * 64,
        worker_version="1",
        filter_version="1",
        model_sha256="0" * 64,
        source=SourceDigest(
            path="x", part=0, parts=1, first_byte=0, end_byte=1, pairs_sha256="0" * 64
        ),
        counts=Counts(),
        files=tuple(FileEntry(name=name, size=1, sha256="0" * 64) for name in NAMES),
        seconds=1,
    )


class Tracker:
    """A tracker's side of an upload, with the troubles that a test gives it."""

    def __init__(
        self, troubles: tuple[Exception, ...] = (), names: tuple[str, ...] = NAMES
    ) -> None:
        self.troubles = list(troubles)
        self.names = names
        self.base = "/"
        self.has: list[str] = []
        self.sent: list[str] = []
        self.asked: list[tuple[str, ...]] = []

    async def plan_uploads(self, lease_id: str, files: tuple[FileEntry, ...]) -> UploadPlan:
        self.asked.append(tuple(file.name for file in files))
        return UploadPlan(
            slots=tuple(
                UploadSlot(name=name, url=f"{self.base}{name}", present=name in self.has)
                for name in self.names
                if name in self.asked[-1] or name not in NAMES
            )
        )

    async def upload_file(self, slot: UploadSlot, path: Path) -> None:
        self.sent.append(slot.name)
        if self.troubles:
            raise self.troubles.pop(0)
        self.has.append(slot.name)

    async def complete(self, lease_id: str, completion: Completion) -> Receipt:
        if missing := set(self.names) - set(self.has):
            raise UploadMismatch(f"{missing} is not there")
        return Receipt(job="c/1", state=JobState.VERIFYING)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "full_jitter", lambda **_: iter([0.0] * 100))


async def test_only_what_the_tracker_lacks_is_sent() -> None:
    tracker = Tracker()
    tracker.has.append("shard.parquet")
    receipt = await deliver(tracker, "l", Path(), manifest(), Said(), STORE)  # type: ignore[arg-type]
    assert receipt.state is JobState.VERIFYING
    assert tracker.sent == ["image_embeddings.npy"]


async def test_a_tracker_without_room_is_waited_for() -> None:
    said = Said()
    tracker = Tracker((StorageFull("no room", retry_after=0),) * 3)
    await deliver(tracker, "l", Path(), manifest(), said, STORE)  # type: ignore[arg-type]
    assert tracker.has == list(NAMES)
    assert said.lines == ["waiting for the tracker: no room"]


class Closed(Tracker):
    """A tracker that wants no file under this lease any more."""

    def __init__(self, answer: Receipt | LeaseLost) -> None:
        super().__init__()
        self.answer = answer
        self.completed = 0

    async def plan_uploads(self, lease_id: str, files: tuple[FileEntry, ...]) -> UploadPlan:
        raise LeaseLost("another worker's result of the job was accepted")

    async def complete(self, lease_id: str, completion: Completion) -> Receipt:
        self.completed += 1
        if isinstance(self.answer, LeaseLost):
            raise self.answer
        return self.answer


async def test_a_shard_that_nobody_wants_the_files_of_is_handed_in_all_the_same() -> None:
    receipt = Receipt(job="c/1", state=JobState.ACCEPTED, outcome=Outcome.SUPERSEDED)
    tracker = Closed(receipt)
    assert await deliver(tracker, "l", Path(), manifest(), Said(), STORE) == receipt  # type: ignore[arg-type]
    assert tracker.completed == 1


async def test_a_lease_that_is_lost_for_good_is_told_once() -> None:
    tracker = Closed(LeaseLost("another worker has the job now"))
    with pytest.raises(LeaseLost, match="has the job now"):
        await deliver(tracker, "l", Path(), manifest(), Said(), STORE)  # type: ignore[arg-type]
    assert tracker.completed == 1


async def test_a_file_that_was_garbled_on_the_way_is_sent_again() -> None:
    tracker = Tracker((UploadMismatch("garbled"),) * 2)
    await deliver(tracker, "l", Path(), manifest(), Said(), STORE)  # type: ignore[arg-type]
    assert tracker.sent == ["shard.parquet"] * 3 + ["image_embeddings.npy"]


async def test_a_file_that_never_arrives_sound_is_given_up() -> None:
    tracker = Tracker((UploadMismatch("garbled"),) * 50)
    with pytest.raises(UploadMismatch):
        await deliver(tracker, "l", Path(), manifest(), Said(), STORE)  # type: ignore[arg-type]
    assert len(tracker.sent) == 5


@pytest.mark.parametrize("name", ["../../.ssh/id_rsa", "lease.json"])
async def test_a_tracker_gets_no_file_that_was_not_offered(name: str) -> None:
    tracker = Tracker(names=(name,))
    with pytest.raises(NotATracker, match="not of the shard"):
        await deliver(tracker, "l", Path(), manifest(), Said(), STORE)  # type: ignore[arg-type]
    assert tracker.sent == []


@pytest.mark.parametrize("base", ["http://192.168.1.1/", "https://10.0.0.1/", "file:///", ""])
async def test_a_shard_goes_to_the_tracker_or_the_public_web(base: str) -> None:
    tracker = Tracker()
    tracker.base = base
    with pytest.raises(StoreRefused):
        await deliver(tracker, "l", Path(), manifest(), Said(), STORE)  # type: ignore[arg-type]
    assert tracker.sent == []


async def test_a_page_of_a_proxy_in_the_trackers_place_is_waited_out() -> None:
    said = Said()
    tracker = Tracker((NotATracker("please log in"),) * 3)
    await deliver(tracker, "l", Path(), manifest(), said, STORE)  # type: ignore[arg-type]
    assert tracker.has == list(NAMES)
    assert said.lines == ["waiting for the tracker: please log in"]


class Store(ForeignStore):
    """A store that takes files for a tracker, after the troubles that a test gives it."""

    def __init__(self, tracker: Tracker, troubles: tuple[Exception, ...] = ()) -> None:
        super().__init__("https://tracker.example", (), "test")
        self.tracker = tracker
        self.troubles = list(troubles)

    async def put(self, url: str, headers: dict[str, str], path: Path, *, size: int) -> None:
        if self.troubles:
            raise self.troubles.pop(0)
        assert size == 1
        self.tracker.has.append(url.rpartition("/")[2])


async def test_a_slot_that_failed_is_not_used_again() -> None:
    tracker, said = Tracker(), Said()
    tracker.base = "https://store.example/"
    store = Store(tracker, (Unavailable("HTTP 403"), Unavailable("HTTP 403")))
    await deliver(tracker, "l", Path(), manifest(), said, store)  # type: ignore[arg-type]
    assert tracker.has == list(NAMES)
    assert tracker.asked == [NAMES, (NAMES[0],), (NAMES[0],)]
    assert said.lines == ["waiting for the tracker: HTTP 403"]


async def test_an_old_slot_is_not_used_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "_FRESH", 0.0)
    tracker = Tracker()
    tracker.base = "https://store.example/"
    await deliver(tracker, "l", Path(), manifest(), Said(), Store(tracker))  # type: ignore[arg-type]
    assert tracker.asked == [NAMES, (NAMES[0],), (NAMES[1],)]


async def test_a_file_that_the_store_got_garbled_is_sent_again() -> None:
    tracker = Tracker()
    tracker.base = "https://store.example/"
    store = Store(tracker, (UploadMismatch("BadDigest"),) * 2)
    await deliver(tracker, "l", Path(), manifest(), Said(), store)  # type: ignore[arg-type]
    assert tracker.has == list(NAMES)
