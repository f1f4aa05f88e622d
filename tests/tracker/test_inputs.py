"""An intermediate's files go to the holder of the score lease, and to nobody else."""

import hashlib
import io

import pytest

from laion_protocol import FailureClass, FileEntry, JobState, NotFound, Outcome, Stage
from laion_protocol.messages import Failure, LeaseRequest
from tests.tracker.running import RECIPE
from tests.tracker.shards import make_shard
from tests.tracker.test_metrics import scrape
from tracker.books import Books
from tracker.queue import JobQueue, JobRef
from tracker.storage import LocalStore, shard_prefix

FILES = {"fetched.parquet": b"rows" * 1000, "images.tar": bytes(range(256)) * 2**13}


@pytest.fixture
async def fetched(tracker, tmp_path):
    """A job whose intermediate was accepted, as the queue and the store have it."""
    await tracker.add_crawl(files=1)
    worker = await tracker.worker("ann")
    lease = (
        await worker.lease(LeaseRequest(worker="pc", version="1", stages=(Stage.FETCH,)))
    ).lease
    assert lease is not None
    assert (lease.stage, lease.inputs) == (Stage.FETCH, ())
    files = tuple(
        FileEntry(name=name, size=len(data), sha256=hashlib.sha256(data).hexdigest())
        for name, data in FILES.items()
    )
    made = make_shard(tmp_path / "s", RECIPE, lease=lease).manifest
    manifest = type(made).model_validate(
        {**made.model_dump(), "files": files, "stage": Stage.FETCH, "model_sha256": None}
    )
    store, prefix = LocalStore(tracker.settings.data), shard_prefix(lease.lease_id)
    for file in files:

        async def body(data=FILES[file.name]):
            yield data

        await store.put(prefix, file.name, body(), size=file.size, sha256=file.sha256)
    await store.seal(prefix, files)
    queue = JobQueue(tracker.redis)
    await queue.complete(lease.lease_id, "ann", manifest)
    await queue.accept(lease.lease_id, manifest.counts, 1)
    return lease


SCORE = LeaseRequest(worker="gpu", version="1", stages=(Stage.SCORE,))


async def test_the_holder_of_the_score_lease_reads_the_intermediate(tracker, fetched):
    gpu = await tracker.worker("bob")
    lease = (await gpu.lease(SCORE)).lease
    assert lease.stage is Stage.SCORE
    got = {}
    for file in lease.inputs:
        to = io.BytesIO()
        await gpu.fetch_input(file, to)
        got[file.name] = to.getvalue()
        assert (file.size, file.sha256) == (
            len(got[file.name]),
            hashlib.sha256(got[file.name]).hexdigest(),
        )
    assert got == FILES
    [again] = (await gpu.held_leases("gpu")).leases
    assert again.inputs == lease.inputs


async def test_nobody_else_reads_it(tracker, fetched):
    gpu = await tracker.worker("bob")
    lease = (await gpu.lease(SCORE)).lease
    other = await tracker.worker("eve")
    with pytest.raises(NotFound):
        await other.fetch_input(lease.inputs[0], io.BytesIO())
    own = lease.inputs[0].model_copy(update={"url": lease.inputs[0].url.replace("fetched", "x")})
    with pytest.raises(NotFound, match="no such input"):
        await gpu.fetch_input(own, io.BytesIO())
    ended = own.model_copy(update={"url": f"/v1/leases/{fetched.lease_id}/inputs/images.tar"})
    with pytest.raises(NotFound):
        await gpu.fetch_input(ended, io.BytesIO())


async def test_an_input_that_was_lost_is_told_in_a_sentence(tracker, fetched):
    gpu = await tracker.worker("bob")
    lease = (await gpu.lease(SCORE)).lease
    await LocalStore(tracker.settings.data).remove(shard_prefix(fetched.lease_id))
    with pytest.raises(NotFound, match="lost this file"):
        await gpu.fetch_input(lease.inputs[0], io.BytesIO())


async def test_a_job_whose_intermediate_is_lost_is_fetched_anew_at_nobodys_cost(tracker, fetched):
    gpu, cpu = await tracker.worker("bob"), await tracker.worker("eve")
    lease = (await gpu.lease(SCORE)).lease
    (tracker.settings.data / "shards" / shard_prefix(fetched.lease_id) / "images.tar").unlink()
    told = Failure(failure_class=FailureClass.SERVER, message="the tracker has lost this file")
    receipt = await gpu.fail(lease.lease_id, told)
    assert (receipt.state, receipt.outcome) == (JobState.PENDING, Outcome.FAILED)
    assert await gpu.fail(lease.lease_id, told) == receipt
    [job] = [await JobQueue(tracker.redis).job(JobRef.parse(lease.job))]
    assert job.fetched is None
    assert (job.attempts[-1].failure_class, job.attempts[-1].message) == ("server", told.message)
    assert (await gpu.lease(SCORE)).idle.message == "nothing waits to be scored"
    again = (await cpu.lease(SCORE.model_copy(update={"stages": (Stage.FETCH,)}))).lease
    assert (again.job, again.stage, again.attempt) == (lease.job, Stage.FETCH, 3)
    assert not (await Books(tracker.redis).sweep()).found
    assert (await scrape(tracker))["laion_intermediates_lost_total",] == 1


async def test_an_intermediate_that_is_there_is_not_fetched_anew_for_a_failure(tracker, fetched):
    gpu = await tracker.worker("bob")
    lease = (await gpu.lease(SCORE)).lease
    told = Failure(failure_class=FailureClass.SERVER, message="it does not answer")
    await gpu.fail(lease.lease_id, told)
    assert (await JobQueue(tracker.redis).job(JobRef.parse(lease.job))).fetched is not None
