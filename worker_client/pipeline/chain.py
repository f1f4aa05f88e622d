"""`run_chunk`: every stage of the pipeline, one after the other, from a chunk to its shard."""

import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import TypeVar

from laion_protocol import Manifest, Recipe, SourceDigest
from worker_client import __version__
from worker_client.meter import Meter
from worker_client.samples import Dropped, Fetched, Sample

from .confined.picture import FORMATS
from .decode import Decoder
from .download import Downloader
from .download_settings import DownloadSettings, Endpoint
from .extract import PairsDigest, extract
from .lazy_model import LazyModel
from .screen import Screen
from .shard import ShardWriter, write_manifest
from .source import Chunk, SourceStopped, open_chunk
from .source_guard import SourceGuard
from .version import FILTER_VERSION

_Item = TypeVar("_Item")


class Interrupted(Exception):
    """Somebody asked to stop; what was done of this chunk is thrown away."""


class RecipeUnsupported(Exception):
    """The recipe asks for what this version cannot do; a newer one may."""


@dataclass(slots=True, frozen=True)
class ChainOptions:
    """What the volunteer's machine decides; the recipe decides the rest."""

    user_agent: str  #: sent to the archive's server and to every image's
    decode_processes: int = 2
    batch_size: int | None = None  #: pictures in one forward pass; by device if None
    keep_all: bool = False  #: keep what the score stage would drop; never set for a tracker's job
    allow_private: frozenset[Endpoint] = frozenset()  #: for tests and the demo
    connect_to: tuple[str, int] | None = None  #: reach every image host here instead
    source_patience: timedelta = timedelta(minutes=30)  #: without a byte of the archive
    source_guard: SourceGuard | None = None  #: for a chunk that a tracker named


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
    if unknown := sorted(set(recipe.formats) - set(FORMATS)):
        raise RecipeUnsupported(
            f"the recipe's format {unknown[0]!r} is none of {', '.join(FORMATS)}; "
            "correct it, or update laion-worker"
        )
    try:
        return _run(chunk, recipe, model, directory, options, meter, stop)
    except SourceStopped as error:
        raise Interrupted("stopped on request") from error


def _run(
    chunk: Chunk,
    recipe: Recipe,
    model: LazyModel,
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
        writer = stack.enter_context(ShardWriter(directory, embeddings=recipe.embeddings))
        settings = DownloadSettings.for_recipe(
            recipe,
            user_agent=options.user_agent,
            allow_private=options.allow_private,
            connect_to=options.connect_to,
        )
        downloader = stack.enter_context(Downloader(settings))
        pairs = stack.enter_context(_closing(extract(reader, recipe.kind, meter.tally)))
        passed = Screen(recipe).screen(digest.watch(pairs))
        fetched = stack.enter_context(_closing(downloader.fetch(passed, stop)))
        scored = _scored(_metered(fetched, meter), recipe, model, options)
        for item in stack.enter_context(_closing(scored)):
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
            model_sha256=model.weights_sha256,
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


def _scored(
    fetched: Iterator[Fetched | Dropped], recipe: Recipe, model: LazyModel, options: ChainOptions
) -> Iterator[Sample | Dropped]:
    """Decode and score; without a single picture, no model is loaded and no process started."""
    for item in fetched:
        if isinstance(item, Dropped):
            yield item
            continue
        loaded = model.load()
        from .score import Scorer  # imports torch

        scorer = Scorer(loaded, recipe, batch_size=options.batch_size, keep_all=options.keep_all)
        with Decoder(recipe, loaded.image_size, processes=options.decode_processes) as decoder:
            yield from scorer.score(decoder.decode(chain([item], fetched)))
