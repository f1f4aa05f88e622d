"""`Runner`: leases jobs from a tracker and does them, one after the other."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from laion_protocol import (
    Forbidden,
    IdleReason,
    LeaseLost,
    Manifest,
    ModelSpec,
    NotFound,
    TrackerError,
    Unauthorized,
    Unavailable,
)
from laion_protocol.client import NotATracker, TrackerClient
from laion_protocol.messages import Failure, Idle, Lease, LeaseRequest, Release
from laion_protocol.states import FailureClass

from . import __version__
from .disk import DiskFull
from .errors import Trouble, trouble_of
from .heartbeat import Heartbeat
from .interrupt import Interrupt
from .meter import Meter
from .model_store import ModelStore
from .patience import patiently, retry_after
from .pipeline.chain import run_chunk
from .pipeline.lazy_model import LazyModel
from .pipeline.source import Chunk
from .pipeline.source_guard import SourceGuard
from .progress import Report
from .settings import WorkerSettings
from .state import Job, StateDirectory
from .upload import deliver

_T = TypeVar("_T")

#: Seconds after a lost answer, and the longest pause after failures of this machine.
_RETRY = 10.0
_LONGEST_PAUSE = 3600.0
#: Whoever presses Ctrl-C twice does not wait longer for a tracker that is away.
_HAND_BACK = 10.0


class Runner:
    """One worker's life: deliver what is left over, then lease, make, deliver, until told to stop.

    Args:
        client: an open session with the tracker.
        settings: what the volunteer said.
        state: locked by the caller.
        report: tells the volunteer.
        interrupt: how the volunteer tells us.
    """

    def __init__(
        self,
        client: TrackerClient,
        settings: WorkerSettings,
        state: StateDirectory,
        report: Report,
        interrupt: Interrupt,
    ) -> None:
        self._client = client
        self._settings = settings
        # The tracker names the archives, and is a stranger.
        guard = SourceGuard(settings.options.allow_private, settings.local_sources)
        self._options = replace(settings.options, source_guard=guard)
        self._state = state
        self._report = report
        self._interrupt = interrupt
        self._models = ModelStore(state.models, client, report)
        self._model: tuple[ModelSpec, LazyModel] | None = None
        self._jobs_done = 0  # however they ended
        self._failures = 0  # of this machine, in a row
        self._idle: IdleReason | None = None

    async def run(self) -> None:
        """Work until told to stop.

        Raises:
            Unavailable: the tracker could not be reached even once.
            Unauthorized, Forbidden: the token does not let this worker work.
        DiskFull: there is no room for a shard; the job was given back as failed.
            NotATracker: something else answers at that address, from the start.
        """
        work = asyncio.create_task(self._run(), name="worker")
        abandon = asyncio.create_task(self._interrupt.abandon.wait(), name="abandon")
        try:
            await asyncio.wait({work, abandon}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            abandon.cancel()
            work.cancel()
            await asyncio.wait({work, abandon})
        if not work.cancelled():
            work.result()

    async def _run(self) -> None:
        for held in await self._left_over():
            if not self._at_end():
                await self._work(held)
        while not self._at_end() and (lease := await self._next_lease()) is not None:
            await self._work(lease)

    def _at_end(self) -> bool:
        most = self._settings.most_jobs
        return self._interrupt.finish.is_set() or (most is not None and self._jobs_done >= most)

    # ── which job ────────────────────────────────────────────────────────────────────────────────

    async def _left_over(self) -> list[Lease]:
        """Deliver the shards of an earlier run; the leases that it had not finished."""
        # First of all: who answers here is final now, and what `patiently` waits for later.
        await self._client.held_leases(self._settings.worker)
        finished = self._state.finished_jobs()
        for job in finished:
            manifest = job.manifest()
            if manifest is not None and not self._at_end():
                self._report.say(f"{job.lease.job}: its shard is finished, offering it again")
                await self._deliver_again(job, manifest)
        held = await patiently(
            partial(self._client.held_leases, self._settings.worker), self._report
        )
        offered = {job.lease.lease_id for job in finished}
        return [lease for lease in held.leases if lease.lease_id not in offered]

    async def _next_lease(self) -> Lease | None:
        """Wait for a job; None when it is time to stop."""
        told = ""
        unsure = False  # whether the tracker may have given us a lease that we do not know of
        while not self._interrupt.finish.is_set():
            try:
                if unsure:
                    held = await self._client.held_leases(self._settings.worker)
                    unsure = False
                    if held.leases:
                        return held.leases[0]
                answer = await self._client.lease(
                    LeaseRequest(worker=self._settings.worker, version=__version__)
                )
            except (Unavailable, NotATracker) as error:
                unsure = True
                if str(error) != told:
                    self._report.say(f"no job yet: {error}")
                    told = str(error)
                await self._interrupt.sleep(retry_after(error) or _RETRY)
                continue
            told = ""
            if answer.lease is not None:
                self._idle = None
                if self._interrupt.finish.is_set():
                    await self._hand_back(answer.lease)
                    return None
                return answer.lease
            if answer.idle is not None:
                unsure = answer.idle.reason is IdleReason.QUOTA
                await self._wait_idle(answer.idle)
        return None

    async def _wait_idle(self, idle: Idle) -> None:
        if idle.reason is not self._idle:
            self._report.say(
                f"no job now ({idle.reason}): {idle.message}; "
                f"asking again every {idle.retry_after:.0f} seconds or so"
            )
        self._idle = idle.reason
        await self._interrupt.sleep(idle.retry_after)

    # ── one job ──────────────────────────────────────────────────────────────────────────────────

    async def _work(self, lease: Lease) -> None:
        """Do one job to its end: delivered, handed back, or failed with a reason."""
        part = f", part {lease.part + 1} of {lease.parts}" if lease.parts > 1 else ""
        self._report.say(f"{lease.job}: {lease.source}{part} (attempt {lease.attempt})")
        job: Job | None = None
        meter = Meter()
        try:
            job = self._state.open_job(lease)
            async with Heartbeat(self._client, lease, meter, self._report):
                with self._report.watching(meter, lease.job):
                    manifest = await self._make(job, meter)
                    meter.stage = "upload"
                    await self._deliver(job, manifest)
        except LeaseLost as error:
            self._report.say(f"{lease.job}: the lease is lost, going on with another: {error}")
        except (Unauthorized, Forbidden):
            raise  # a finished shard stays, for a token that is good
        except asyncio.CancelledError:
            if job is None or job.manifest() is None:
                if job is not None:
                    job.remove()
                await self._hand_back(lease)
            else:
                self._report.say(f"{lease.job}: its shard is finished and kept for the next start")
            raise
        except DiskFull as error:
            if job is not None:
                job.remove()
            await self._tell_failure(lease, trouble_of(error))
            raise  # the next job would end as this one: the volunteer must make room
        except Exception as error:  # noqa: BLE001 (whatever it is, the job must be told off)
            await self._fail(lease, trouble_of(error))
        else:
            self._failures = 0
        self._jobs_done += 1
        if job is not None:
            job.remove()

    async def _make(self, job: Job, meter: Meter) -> Manifest:
        lease = job.lease
        model = await self._load_model(lease.recipe.model)
        stop = threading.Event()
        chunk = Chunk(lease.source, lease.part, lease.parts)

        def make() -> Manifest:
            if lease.recipe.model.pretrained is not None:
                model.load()  # its hash is known only now, and the manifest needs it
            return run_chunk(chunk, lease.recipe, model, job.shard, self._options, meter, stop)

        return await _in_thread(make, stop)

    async def _load_model(self, spec: ModelSpec) -> LazyModel:
        """The model, kept from job to job as long as it is the same."""
        if self._model is None or self._model[0] != spec:
            self._model = (spec, LazyModel(spec, await self._models.files(spec)))
        return self._model[1]

    async def _deliver(self, job: Job, manifest: Manifest) -> None:
        receipt = await deliver(self._client, job.lease.lease_id, job.shard, manifest, self._report)
        counts = manifest.counts
        self._report.say(
            f"{job.lease.job}: {counts.kept} of {counts.pairs} pairs kept in "
            f"{manifest.seconds:.0f} s, uploaded; {receipt.message or f'it is {receipt.state}'}"
        )

    async def _deliver_again(self, job: Job, manifest: Manifest) -> None:
        """A shard of an earlier run; its lease may be over, and the job still open."""
        try:
            await self._deliver(job, manifest)
        except (LeaseLost, NotFound) as error:
            self._report.say(f"{job.lease.job}: it came too late: {error}")
        except (Unauthorized, Forbidden):
            raise
        except (TrackerError, NotATracker, OSError) as error:
            await self._fail(job.lease, trouble_of(error))
        else:
            self._jobs_done += 1
        job.remove()

    # ── when it does not work ────────────────────────────────────────────────────────────────────

    async def _tell_failure(self, lease: Lease, trouble: Trouble) -> None:
        self._report.say(f"{lease.job}: failed ({trouble.failure_class}): {trouble.message}")
        failure = Failure(failure_class=trouble.failure_class, message=trouble.message)
        try:
            await self._client.fail(lease.lease_id, failure)
        except (LeaseLost, NotFound, Unavailable, NotATracker) as error:
            self._report.say(f"{lease.job}: the tracker was not told: {error}")

    async def _fail(self, lease: Lease, trouble: Trouble) -> None:
        """Tell the tracker why not; wait, if this machine is to blame."""
        await self._tell_failure(lease, trouble)
        if trouble.failure_class is FailureClass.JOB:
            self._failures = 0
            return
        pause = min(_LONGEST_PAUSE, self._settings.pause * 2**self._failures)
        self._failures += 1
        self._report.say(f"pausing for {pause:.0f} seconds")
        await self._interrupt.sleep(pause)

    async def _hand_back(self, lease: Lease) -> None:
        try:
            async with asyncio.timeout(_HAND_BACK):
                await self._client.release(lease.lease_id, Release())
        except (TrackerError, NotATracker, TimeoutError) as error:
            self._report.say(
                f"{lease.job}: could not be handed back ({error}); its lease runs out by itself"
            )
        else:
            self._report.say(f"{lease.job}: handed back")


async def _in_thread(work: Callable[[], _T], stop: threading.Event) -> _T:
    """Run blocking work; when cancelled, set `stop` and wait for the thread to see it."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # seen: being stopped is no news
        raise
