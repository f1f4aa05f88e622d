"""The worker against the real tracker, real archives and a real, tiny CLIP."""

import asyncio
from pathlib import Path

import pytest

from laion_protocol import Unauthorized, Unavailable
from laion_protocol.client import NotATracker, TrackerClient
from laion_protocol.messages import LeaseAnswer, LeaseRequest, Requeue
from tests.tracker.running import until
from tests.worker_client.conftest import Start
from tests.worker_client.line import Line
from tests.worker_client.little_web import HeldServer
from tests.worker_client.project import Project, Said, accepted
from worker_client import making
from worker_client import runner as runner_module
from worker_client.disk import DiskFull
from worker_client.errors import AlreadyRunning
from worker_client.interrupt import Interrupt
from worker_client.pipeline.chain import ChainOptions, run_chunk
from worker_client.pipeline.model_files import OutOfMemory
from worker_client.runner import Runner
from worker_client.settings import WorkerSettings
from worker_client.state import StateDirectory
from worker_client.worker import work


async def lease(p: Project):
    client = await p.worker_client()
    return (await client.lease(LeaseRequest(worker="box", version="0"))).lease


async def test_a_worker_does_a_crawl_to_its_end_and_every_shard_is_accepted(start: Start) -> None:
    p = await start(files=2, checkers=1)
    await p.run(most_jobs=2)
    await accepted(p, 2)
    stats = await p.stats()
    assert (stats.kept, stats.pairs, stats.attempts) == (6, 6, 2)
    assert "3 of 3 pairs kept" in p.said
    assert "being verified" in p.said or "verifying" in p.said
    # the model came once, and nothing but it is left on the volunteer's disk
    assert sum("fetching the model" in line for line in p.said.lines) == 2
    left = [
        f.relative_to(p.settings.state).parts[0] for f in p.settings.state.rglob("*") if f.is_file()
    ]
    assert sorted(set(left)) == ["lock", "models"]


async def test_a_worker_without_work_says_why_and_stops_when_told(start: Start) -> None:
    p = await start()
    admin = await p.tracker.admin()
    await admin.pause_crawl("CC-1")
    running = asyncio.create_task(p.run(most_jobs=None))
    await until(lambda: "no job now (paused): an admin paused" in p.said)
    await asyncio.sleep(1)  # it asks several times, and says so once
    p.interrupt.ask()
    async with asyncio.timeout(5):
        await running
    assert sum("no job now" in line for line in p.said.lines) == 1


async def test_a_lease_held_before_a_crash_is_worked_on_under_the_same_lease(start: Start) -> None:
    p = await start(checkers=1)
    held = await lease(p)
    job = StateDirectory(p.settings.state, p.settings.tracker)
    with job.locked():
        job.open_job(held).shard.mkdir()  # as a killed worker leaves it
    await p.run()
    await accepted(p, 1)
    assert (await p.stats()).attempts == 1


async def test_a_finished_shard_is_delivered_after_a_crash_without_doing_it_again(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    p = await start(checkers=1)
    held = await lease(p)
    await _finish_on_disk(p, held)

    def again(*args: object) -> None:
        raise AssertionError("the work was done before")

    monkeypatch.setattr(making, "run_chunk", again)
    await p.run()
    await accepted(p, 1)
    assert (await p.stats()).attempts == 1
    assert "its shard is finished, offering it again" in p.said
    assert not [d for d in (p.settings.state / "jobs").rglob("*") if d.is_file()]


async def _finish_on_disk(p: Project, held) -> None:
    """What a worker that was killed just before its upload leaves on the disk."""
    import threading

    from worker_client.meter import Meter
    from worker_client.pipeline.lazy_model import LazyModel
    from worker_client.pipeline.model_files import ModelFiles
    from worker_client.pipeline.source import Chunk

    directory = p.archives[0].parent
    state = StateDirectory(p.settings.state, p.settings.tracker)
    model = LazyModel(
        held.recipe.model, ModelFiles(directory / "tiny.json", directory / "tiny.safetensors")
    )
    with state.locked():
        job = state.open_job(held)
        await asyncio.to_thread(
            run_chunk, Chunk(held.source, held.part, held.parts), held.recipe, model, job.shard,
            p.settings.options, Meter(), threading.Event(),
        )  # fmt: skip


async def test_a_finished_shard_that_comes_too_late_is_dropped_with_a_word(start: Start) -> None:
    p = await start()
    held = await lease(p)
    await _finish_on_disk(p, held)
    admin = await p.tracker.admin()
    await admin.requeue(Requeue(jobs=(held.job,), reason="test"))
    other = await p.tracker.worker("bob")
    assert (await other.lease(LeaseRequest(worker="b", version="0"))).lease is not None
    running = asyncio.create_task(p.run(most_jobs=None))
    await until(lambda: "it came too late" in p.said)
    await until(lambda: "no job now" in p.said)
    p.interrupt.order()
    await running
    assert not [d for d in (p.settings.state / "jobs").rglob("*") if d.is_file()]


async def test_a_tracker_that_goes_away_while_a_shard_is_made_and_sent_costs_nothing(
    start: Start,
) -> None:
    p = await start(server=HeldServer, checkers=1, lease_duration=3)
    async with Line(p.tracker.url) as line:
        running = asyncio.create_task(p.run(tracker=line.url))
        await until(p.server.asked.is_set)
        line.cut()
        await until(lambda: "the work goes on without the tracker" in p.said)
        p.server.go.set()
        await until(lambda: "waiting for the tracker" in p.said, 40)
        assert not running.done()
        line.mend()
        async with asyncio.timeout(40):
            await running
    await accepted(p, 1)


async def test_an_upload_that_breaks_off_is_taken_up_again(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    p = await start(server=HeldServer, checkers=1, recipe={"embeddings": True})
    async with Line(p.tracker.url) as line:
        running = asyncio.create_task(p.run(tracker=line.url))
        await until(p.server.asked.is_set)
        await asyncio.sleep(0.2)
        line.cut_after = 1500  # in the midst of the first file
        p.server.go.set()
        await until(lambda: line.is_cut, 40)
        await until(lambda: "waiting for the tracker" in p.said, 40)
        line.mend()
        async with asyncio.timeout(40):
            await running
    await accepted(p, 1)


async def test_a_lost_lease_ends_the_work_and_the_worker_goes_on(start: Start) -> None:
    p = await start(server=HeldServer, lease_duration=1, checkers=1)
    running = asyncio.create_task(p.run(most_jobs=2))
    await until(p.server.asked.is_set)
    admin = await p.tracker.admin()
    await admin.requeue(Requeue(jobs=("CC-1/0",), reason="it looked stale"))
    await until(lambda: "the lease is lost" in p.said)
    p.server.go.set()
    async with asyncio.timeout(40):
        await running
    await accepted(p, 1)
    assert (await p.stats()).attempts == 2


async def test_a_shard_that_was_finished_when_its_lease_was_lost_is_offered_all_the_same(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The heartbeat hears of it while the files are on their way; the job may be open."""
    p = await start(lease_duration=1)
    sending, real = asyncio.Event(), runner_module.deliver

    async def slow(*args: object) -> object:
        if sending.is_set():
            return await real(*args)  # type: ignore[arg-type]
        sending.set()
        return await asyncio.sleep(60)

    monkeypatch.setattr(runner_module, "deliver", slow)
    running = asyncio.create_task(p.run())
    await until(sending.is_set, 20)
    await (await p.tracker.admin()).requeue(Requeue(jobs=("CC-1/0",), reason="it looked stale"))
    async with asyncio.timeout(20):
        await running
    assert (await p.stats()).jobs.verifying == 1


async def test_the_first_ctrl_c_finishes_the_job_at_hand(start: Start) -> None:
    p = await start(server=HeldServer, files=2)
    running = asyncio.create_task(p.run(most_jobs=None))
    await until(p.server.asked.is_set)
    p.interrupt.ask()
    p.server.go.set()
    async with asyncio.timeout(40):
        await running
    jobs = (await p.stats()).jobs
    assert (jobs.verifying, jobs.pending, jobs.leased) == (1, 1, 0)


async def test_the_second_ctrl_c_hands_the_job_back(start: Start) -> None:
    p = await start(server=HeldServer, files=2)
    running = asyncio.create_task(p.run(most_jobs=None))
    await until(p.server.asked.is_set)
    p.interrupt.ask()
    p.interrupt.ask()
    async with asyncio.timeout(20):
        await running
    jobs = (await p.stats()).jobs
    assert (jobs.verifying, jobs.pending, jobs.leased) == (0, 2, 0)
    assert "handed back" in p.said
    assert not [d for d in (p.settings.state / "jobs").rglob("*") if d.is_file()]


async def test_a_source_that_is_gone_is_the_jobs_fault_and_the_worker_goes_on(
    start: Start,
) -> None:
    p = await start(files=2)
    p.archives[0].unlink()
    await p.run(most_jobs=2)
    jobs = (await p.stats()).jobs
    assert jobs.verifying == 1
    assert "failed (job)" in p.said
    assert "pausing" not in p.said


async def test_a_full_disk_gives_the_job_back_and_ends_the_worker(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise DiskFull("the disk that holds it is full; free some space and start again")

    monkeypatch.setattr(making, "run_chunk", full)
    p = await start(files=3)
    with pytest.raises(DiskFull):
        await p.run()
    assert "failed (worker): the disk that holds it is full" in p.said
    jobs = (await p.stats()).jobs
    assert (jobs.pending, jobs.leased) == (3, 0)


async def test_what_is_this_machines_fault_makes_it_pause_ever_longer(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OutOfMemory("this machine is too small for the model")

    pauses = []

    async def sleep(interrupt: Interrupt, seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(making, "run_chunk", full)
    monkeypatch.setattr(Interrupt, "sleep", sleep)
    p = await start(files=3)
    await p.run(most_jobs=3)
    assert pauses == [0.05, 0.1, 0.2]
    assert "failed (worker): this machine is too small" in p.said
    jobs = (await p.stats()).jobs
    assert jobs.pending == 3


async def test_a_fault_of_our_own_is_reported_and_not_a_traceback(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr(making, "run_chunk", broken)
    p = await start()
    await p.run()
    assert "a fault of its own (KeyError: 'oops')" in p.said


async def test_a_wrong_token_ends_the_worker(start: Start) -> None:
    p = await start()
    with pytest.raises(Unauthorized):
        await p.run(token="lw_" + "0" * 12 + "_" + "0" * 64)


async def test_a_tracker_that_is_not_there_or_not_one_ends_the_worker_at_its_start(
    start: Start,
) -> None:
    p = await start()
    with pytest.raises(Unavailable, match="check the address and your connection"):
        await p.run(tracker="http://127.0.0.1:9")
    host, port = p.server.endpoint
    with pytest.raises(NotATracker):
        await p.run(tracker=f"http://{host}:{port}")


async def test_a_page_of_a_proxy_in_mid_run_is_waited_out_and_told_once(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "_RETRY", 0.02)
    p = await start(checkers=1)
    asked, really = [0], TrackerClient.lease

    async def lease(client: TrackerClient, request: LeaseRequest) -> LeaseAnswer:
        asked[0] += 1
        if asked[0] <= 4:
            raise NotATracker("it answers, but not as a tracker does")
        return await really(client, request)

    monkeypatch.setattr(TrackerClient, "lease", lease)
    await p.run()
    await accepted(p, 1)
    assert sum("no job yet: it answers, but not as" in line for line in p.said.lines) == 1


async def test_a_failure_that_only_a_proxy_hears_of_does_not_end_the_worker(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*args: object) -> None:
        raise NotATracker("please log in")

    p = await start(files=2)
    p.archives[0].unlink()
    monkeypatch.setattr(TrackerClient, "fail", fail)
    await p.run(most_jobs=2)
    assert "the tracker was not told: please log in" in p.said
    assert (await p.stats()).jobs.verifying == 1


async def test_a_finished_shard_outlives_a_proxy_in_the_trackers_place_at_the_start(
    start: Start,
) -> None:
    p = await start(checkers=1)
    await _finish_on_disk(p, await lease(p))
    host, port = p.server.endpoint
    with pytest.raises(NotATracker):
        await p.run(tracker=f"http://{host}:{port}")
    await p.run()
    await accepted(p, 1)
    assert (await p.stats()).attempts == 1


async def test_a_tracker_cannot_have_files_read_that_the_volunteer_did_not_offer(
    start: Start, tmp_path: Path
) -> None:
    p = await start()
    await p.run(local_sources=None)
    assert "failed (job)" in p.said
    assert "--local-sources" in p.said
    (tmp_path / "other").mkdir()
    await p.run(local_sources=tmp_path / "other")
    assert "outside the directory" in p.said
    assert (await p.stats()).jobs.verifying == 0


@pytest.mark.parametrize(
    ("tracker", "warned"),
    [
        ("http://tracker.example", True),
        ("http://192.168.1.5:8000", True),
        ("https://tracker.example", False),
        ("http://127.0.0.1:8000", False),
        ("http://localhost:8000", False),
        ("http://[::1]:8000", False),
    ],
)
async def test_a_token_in_clear_text_is_warned_of_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracker: str, warned: bool
) -> None:
    async def nothing(runner: Runner) -> None:
        return

    monkeypatch.setattr(Runner, "run", nothing)
    said = Said()
    options = ChainOptions(user_agent="x")
    await work(WorkerSettings(tracker, "lw_a_b", "box", tmp_path, options), said)
    assert sum("clear text" in line for line in said.lines) == warned


async def test_one_state_directory_has_one_worker(start: Start) -> None:
    p = await start()
    state = StateDirectory(p.settings.state, p.settings.tracker)
    with state.locked(), pytest.raises(AlreadyRunning, match="--state-dir"):
        await p.run()


async def test_model_files_that_were_damaged_on_the_disk_are_fetched_again(start: Start) -> None:
    p = await start(files=2)
    await p.run()
    (weights,) = (p.settings.state / "models").glob("*.safetensors")
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + b"\xff")
    await p.run()
    assert weights.read_bytes() == good
    assert (await p.stats()).jobs.verifying == 2
