"""`Runner`: leases jobs from a tracker and does them, one after the other."""

import asyncio
from functools import partial

from laion_protocol import (
    Forbidden,
    IdleReason,
    LeaseLost,
    Manifest,
    NotFound,
    RateLimited,
    Stage,
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
from .foreign_store import ForeignStore
from .heartbeat import Heartbeat
from .interrupt import Interrupt
from .making import Maker
from .meter import Meter
from .model_store import ModelStore
from .news import News
from .patience import patiently, retry_after
from .progress import Report
from .settings import WorkerSettings
from .state import Job, StateDirectory
from .upload import deliver

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
        self._store = ForeignStore(
            settings.tracker, settings.options.allow_private, settings.options.user_agent
        )
        self._state = state
        self._report = report
        self._interrupt = interrupt
        models = ModelStore(state.models, client, report)
        self._maker = Maker(client, settings, models, self._store, report)
        self._news = News(state.announced, report)
        self._request = LeaseRequest(
            worker=settings.worker, version=__version__, stages=settings.stages or (Stage.HYBRID,)
        )
        self._jobs_done = 0  # however they ended
        self._failures = 0  # of this machine, in a row
        self._idle: tuple[IdleReason, str] | None = None

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
                answer = await self._client.lease(self._request)
            except (Unavailable, RateLimited, NotATracker) as error:
                unsure = unsure or not isinstance(error, RateLimited)
                if str(error) != told:
                    self._report.say(f"no job yet: {error}")
                    told = str(error)
                await self._interrupt.sleep(retry_after(error) or _RETRY)
                continue
            told = ""
            self._news.tell(answer.announcements, answer.notice)
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
        if (idle.reason, idle.message) != self._idle:
            self._report.say(
                f"no job now ({idle.reason}): {idle.message}; "
                f"asking again every {_about(idle.retry_after)} or so"
            )
        self._idle = (idle.reason, idle.message)
        await self._interrupt.sleep(idle.retry_after)

    # ── one job ──────────────────────────────────────────────────────────────────────────────────

    async def _work(self, lease: Lease) -> None:
        """Do one job to its end: delivered, handed back, or failed with a reason."""
        if lease.stage not in self._request.stages:
            # of an earlier run with other --stages, or of a tracker that does not listen
            self._report.say(f"{lease.job}: this worker does no {lease.stage} stage")
            await self._hand_back(lease)
            await self._interrupt.sleep(self._settings.pause)
            return
        part = f", part {lease.part + 1} of {lease.parts}" if lease.parts > 1 else ""
        stage = "" if lease.stage is Stage.HYBRID else f", {lease.stage} stage"
        self._report.say(f"{lease.job}: {lease.source}{part}{stage} (attempt {lease.attempt})")
        job: Job | None = None
        meter = Meter()
        try:
            job = self._state.open_job(lease)
            async with Heartbeat(self._client, lease, meter, self._report, self._news):
                with self._report.watching(meter, lease.job):
                    manifest = await self._maker.make(job, meter)
                    meter.stage = "upload"
                    await self._deliver(job, manifest)
        except LeaseLost as error:
            finished = None if job is None else job.manifest()
            if job is None or finished is None:
                self._report.say(f"{lease.job}: the lease is lost, going on with another: {error}")
            else:
                await self._offer(job, finished)
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

    async def _deliver(self, job: Job, manifest: Manifest) -> None:
        receipt = await deliver(
            self._client, job.lease.lease_id, job.shard, manifest, self._report, self._store
        )
        counts = manifest.counts
        done = "fetched" if manifest.stage is Stage.FETCH else "kept"
        self._report.say(
            f"{job.lease.job}: {counts.kept} of {counts.pairs} pairs {done} in "
            f"{manifest.seconds:.0f} s, uploaded; {receipt.message or f'it is {receipt.state}'}"
        )

    async def _deliver_again(self, job: Job, manifest: Manifest) -> None:
        """A shard of an earlier run."""
        if await self._offer(job, manifest):
            self._jobs_done += 1
        job.remove()

    async def _offer(self, job: Job, manifest: Manifest) -> bool:
        """A finished shard whose lease may be over, and the job still open; whether the tracker
        had a use for it."""
        try:
            await self._deliver(job, manifest)
        except (LeaseLost, NotFound) as error:
            self._report.say(f"{job.lease.job}: it came too late: {error}")
        except (Unauthorized, Forbidden):
            raise
        except (TrackerError, NotATracker, OSError) as error:
            await self._fail(job.lease, trouble_of(error))
        else:
            return True
        return False

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


def _about(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"
