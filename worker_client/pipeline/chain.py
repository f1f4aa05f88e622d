"""`run_chunk`: every stage of the pipeline, one after the other, from a chunk to its shard.

`fetch_chunk` is the same up to the decoded picture, for a worker that has no model.
"""

import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from laion_protocol import Manifest, Recipe, SourceDigest
from worker_client import __version__
from worker_client.meter import Meter
from worker_client.samples import Dropped, Fetched

from .confined.picture import FORMATS
from .download import Downloader
from .download_settings import DownloadSettings
from .extract import PairsDigest, extract
from .goal import Goal, IntermediateGoal, ShardGoal
from .lazy_model import LazyModel
from .novelty import Novelty
from .options import ChainOptions
from .screen import Screen
from .shard import write_manifest
from .source import Chunk, SourceStopped, open_chunk
from .version import FILTER_VERSION

__all__ = ["ChainOptions", "Interrupted", "RecipeUnsupported", "fetch_chunk", "run_chunk"]

_Item = TypeVar("_Item")


class Interrupted(Exception):
    """Somebody asked to stop; what was done of this chunk is thrown away."""


class RecipeUnsupported(Exception):
    """The recipe asks for what this version cannot do; a newer one may."""


def run_chunk(
    chunk: Chunk,
    recipe: Recipe,
    model: LazyModel,
    directory: Path,
    options: ChainOptions,
    meter: Meter,
    stop: threading.Event,
) -> Manifest:
    """Turn a chunk into a shard in `directory`; its manifest, which is also written there, last.

    Blocks for minutes to hours; call it in a thread of its own. `stop` may be set from another.

    Raises:
        Interrupted: `stop` was set.
        RecipeUnsupported: this version cannot do what the recipe asks.
        SourceMissing, SourceRefused, SourceUnreadable, SourceUnavailable: the chunk cannot be read.
        ModelUnavailable, ModelUnusable: there is a picture, and no model to score it.
        OutOfMemory: the model does not fit into this machine.
        DiskFull, OutputRefused: the shard cannot be written.
    """
    return _run(chunk, recipe, ShardGoal(recipe, model, options), directory, options, meter, stop)


def fetch_chunk(
    chunk: Chunk,
    recipe: Recipe,
    side: int,
    directory: Path,
    options: ChainOptions,
    meter: Meter,
    stop: threading.Event,
) -> Manifest:
    """Turn a chunk into an intermediate in `directory`, and do all that `run_chunk` does else.

    `side` is that of the model's picture, pixels. No model is loaded, torch is not imported.

    Raises:
        Interrupted, RecipeUnsupported, SourceMissing, SourceRefused, SourceUnreadable,
        SourceUnavailable, DiskFull, OutputRefused: as `run_chunk`.
        ShardTooLarge: there are more pictures than one lease may hand in.
    """
    goal = IntermediateGoal(recipe, side, options)
    return _run(chunk, recipe, goal, directory, options, meter, stop)


def _run(
    chunk: Chunk,
    recipe: Recipe,
    goal: Goal[_Item],
    directory: Path,
    options: ChainOptions,
    meter: Meter,
    stop: threading.Event,
) -> Manifest:
    if unknown := sorted(set(recipe.formats) - set(FORMATS)):
        raise RecipeUnsupported(
            f"the recipe's format {unknown[0]!r} is none of {', '.join(FORMATS)}; "
            "correct it, or update laion-worker"
        )
    try:
        return _make(chunk, recipe, goal, directory, options, meter, stop)
    except SourceStopped as error:
        raise Interrupted("stopped on request") from error


def _make(
    chunk: Chunk,
    recipe: Recipe,
    goal: Goal[_Item],
    directory: Path,
    options: ChainOptions,
    meter: Meter,
    stop: threading.Event,
) -> Manifest:
    started = time.monotonic()
    digest = PairsDigest()
    with ExitStack() as stack:
        meter.stage = "read"
        reader = stack.enter_context(
            open_chunk(
                chunk,
                meter.tally,
                user_agent=options.user_agent,
                stop=stop,
                patience=options.source_patience,
                guard=options.source_guard,
            )
        )
        writer = stack.enter_context(goal.writer(directory))
        settings = DownloadSettings.for_recipe(
            recipe,
            user_agent=options.user_agent,
            allow_private=options.allow_private,
            connect_to=options.connect_to,
        )
        downloader = stack.enter_context(Downloader(settings))
        pairs = stack.enter_context(_closing(extract(reader, recipe.kind, meter.tally)))
        passed = Screen(recipe).screen(digest.watch(pairs))
        if recipe.dedupe and options.ask_new is not None:
            novelty = Novelty(options.ask_new, stop)
            passed = stack.enter_context(_closing(novelty.sift(passed)))
        fetched = stack.enter_context(_closing(downloader.fetch(passed, stop)))
        made = goal.make(_metered(fetched, meter))
        for item in stack.enter_context(_closing(made)):
            meter.wait_while_paused(stop)
            if stop.is_set():
                break
            if isinstance(item, Dropped):
                meter.tally.drop(item.reason)
            else:
                writer.add(item)
                meter.tally.kept += 1
        if stop.is_set():  # a stage that sees it ends early, as if there were no more
            raise Interrupted("stopped on request")
        meter.stage = "write"
        manifest = Manifest(
            recipe_sha256=recipe.sha256,
            worker_version=__version__,
            filter_version=FILTER_VERSION,
            stage=goal.stage,
            model_sha256=goal.model_sha256,
            source=SourceDigest(
                path=chunk.location[-1024:],
                part=chunk.part,
                parts=chunk.parts,
                first_byte=reader.first_byte,
                end_byte=reader.end_byte,
                pairs_sha256=digest.hexdigest(),
            ),
            counts=meter.tally.counts(),
            files=writer.finish(),
            seconds=time.monotonic() - started,
        )
        write_manifest(directory, manifest)
    return manifest


@contextmanager
def _closing(stage: Iterator[_Item]) -> Iterator[Iterator[_Item]]:
    """Ends a stage's threads and processes with the block, also when it is left half-way."""
    try:
        yield stage
    finally:
        if isinstance(stage, Generator):
            stage.close()


def _metered(fetched: Iterable[Fetched | Dropped], meter: Meter) -> Iterator[Fetched | Dropped]:
    for item in fetched:
        meter.stage = "download"
        if isinstance(item, Fetched):
            meter.downloaded += 1
        yield item
