"""`Maker`: what a lease asks for, made on this machine: a shard, or an intermediate."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from laion_protocol import Manifest, ModelSpec, Stage
from laion_protocol.client import NotATracker, TrackerClient
from laion_protocol.messages import Lease

from .foreign_store import ForeignStore
from .inputs import fetch_inputs
from .meter import Meter
from .model_store import ModelStore
from .new_pairs import NewPairs
from .pipeline.chain import RecipeUnsupported, fetch_chunk, run_chunk
from .pipeline.lazy_model import LazyModel
from .pipeline.options import ChainOptions
from .pipeline.score_stage import score_intermediate
from .pipeline.source import Chunk
from .pipeline.source_guard import SourceGuard
from .progress import Report
from .settings import WorkerSettings
from .state import Job

_T = TypeVar("_T")
_Work = Callable[[threading.Event], Manifest]


class Maker:
    """Runs the pipeline in a thread of its own; keeps the model from job to job."""

    def __init__(
        self,
        client: TrackerClient,
        settings: WorkerSettings,
        models: ModelStore,
        store: ForeignStore,
        report: Report,
    ) -> None:
        self._client = client
        self._settings = settings
        # The tracker names the archives, and is a stranger.
        guard = SourceGuard(settings.options.allow_private, settings.local_sources)
        self._options = replace(settings.options, source_guard=guard)
        self._models = models
        self._store = store
        self._report = report
        self._model: tuple[ModelSpec, LazyModel] | None = None

    async def make(self, job: Job, meter: Meter) -> Manifest:
        """The files of this job, in `job.shard`; cancel it to stop.

        Raises:
            what `run_chunk`, `fetch_chunk`, `score_intermediate` and `fetch_inputs` raise.
            ModelUnusable, NotFound: the tracker does not have the model.
        """
        lease = job.lease
        match lease.stage:
            case Stage.HYBRID:
                work = self._whole(job, await self._load_model(lease.recipe.model), meter)
            case Stage.FETCH:
                work = self._first_half(job, await self._side(lease.recipe.model), meter)
            case Stage.SCORE:
                model = await self._load_model(lease.recipe.model)
                work = await self._second_half(job, model, meter)
        stop = threading.Event()
        return await _in_thread(partial(work, stop), stop)

    def _whole(self, job: Job, model: LazyModel, meter: Meter) -> _Work:
        lease, options = job.lease, self._asking(job.lease)

        def work(stop: threading.Event) -> Manifest:
            _know_hash(model)
            return run_chunk(_chunk(lease), lease.recipe, model, job.shard, options, meter, stop)

        return work

    def _first_half(self, job: Job, side: int, meter: Meter) -> _Work:
        lease, options = job.lease, self._asking(job.lease)

        def work(stop: threading.Event) -> Manifest:
            return fetch_chunk(_chunk(lease), lease.recipe, side, job.shard, options, meter, stop)

        return work

    async def _second_half(self, job: Job, model: LazyModel, meter: Meter) -> _Work:
        lease = job.lease
        if lease.fetched is None:
            raise NotATracker("the tracker leases a score stage without what was fetched")
        meter.stage = "inputs"
        await fetch_inputs(
            self._client, self._settings.worker, lease, job.inputs, self._store, self._report
        )
        fetched = lease.fetched

        def work(stop: threading.Event) -> Manifest:
            _know_hash(model)
            return score_intermediate(
                job.inputs, fetched, lease.recipe, model, job.shard, self._options, meter, stop
            )

        return work

    async def _load_model(self, spec: ModelSpec) -> LazyModel:
        """The model, kept as long as it is the same."""
        if self._model is None or self._model[0] != spec:
            self._model = (spec, LazyModel(spec, await self._models.files(spec)))
        return self._model[1]

    async def _side(self, spec: ModelSpec) -> int:
        side = await self._models.input_side(spec)
        if side is None:
            raise RecipeUnsupported(
                f"this version does not know how large the pictures of {spec.architecture!r} are, "
                "so it cannot fetch for it; update laion-worker, or use --stages hybrid"
            )
        return side

    def _asking(self, lease: Lease) -> ChainOptions:
        return replace(self._options, ask_new=NewPairs(self._client, lease, self._report))


def _chunk(lease: Lease) -> Chunk:
    return Chunk(lease.source, lease.part, lease.parts)


def _know_hash(model: LazyModel) -> None:
    """The manifest needs it, and that of a model known by name is known once it is loaded."""
    if model.spec.pretrained is not None:
        model.load()


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
