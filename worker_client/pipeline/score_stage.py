"""`score_intermediate`: the second half of a job that another worker began."""

import threading
import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from laion_protocol import Manifest, Recipe, Stage
from worker_client import __version__
from worker_client.meter import Meter
from worker_client.samples import Dropped, Fetched, Sample

from .chain import Interrupted
from .decode import Decoder
from .intermediate import Intermediate, IntermediateBroken
from .lazy_model import LazyModel
from .options import ChainOptions
from .shard import ShardWriter, write_manifest

__all__ = ["IntermediateBroken", "score_intermediate"]

_PICTURES: Final = "webp"


def score_intermediate(
    inputs: Path,
    fetched: Manifest,
    recipe: Recipe,
    model: LazyModel,
    directory: Path,
    options: ChainOptions,
    meter: Meter,
    stop: threading.Event,
) -> Manifest:
    """Turn the intermediate in `inputs` into a shard in `directory`; its manifest.

    The shard is the one that a worker would have made that had done both stages. Blocks; call it
    in a thread of its own.

    Raises:
        Interrupted: `stop` was set.
        IntermediateBroken: the files do not fit together, or another model.
        ModelUnavailable, ModelUnusable: there is a picture, and no model to score it.
        OutOfMemory: the model does not fit into this machine.
        DiskFull, OutputRefused: the shard cannot be written.
    """
    started = time.monotonic()
    meter.stage = "score"
    _begin(meter, fetched)
    with (
        ShardWriter(directory, embeddings=recipe.embeddings) as writer,
        closing(_scored(inputs, fetched, recipe, model, options, meter)) as scored,
    ):
        for item in scored:
            meter.wait_while_paused(stop)
            if stop.is_set():
                raise Interrupted("stopped on request")
            if isinstance(item, Dropped):
                meter.tally.drop(item.reason)
            else:
                writer.add(item)
                meter.tally.kept += 1
        meter.stage = "write"
        manifest = Manifest(
            recipe_sha256=recipe.sha256,
            worker_version=__version__,
            filter_version=fetched.filter_version,
            stage=Stage.SCORE,
            model_sha256=model.weights_sha256,
            source=fetched.source,
            counts=meter.tally.counts(),
            files=writer.finish(),
            seconds=time.monotonic() - started,
        )
        write_manifest(directory, manifest)
    return manifest


def _begin(meter: Meter, fetched: Manifest) -> None:
    """Count on from where the fetch stage stopped."""
    tally, counts = meter.tally, fetched.counts
    tally.records, tally.pages, tally.pairs = counts.records, counts.pages, counts.pairs
    tally.drops, tally.damage = Counter(counts.drops), Counter(counts.damage)


def _scored(
    inputs: Path,
    fetched: Manifest,
    recipe: Recipe,
    model: LazyModel,
    options: ChainOptions,
    meter: Meter,
) -> Generator[Sample | Dropped, None, None]:
    """Without a single picture, no model is loaded and no process started."""
    if not fetched.counts.kept:
        return
    loaded = model.load()
    from .score import Scorer  # imports torch

    side = loaded.image_size
    intermediate = Intermediate(inputs, fetched, side)
    # The pictures are those of a stranger who says that they are the model's own input.
    rules = recipe.model_copy(
        update={"formats": (_PICTURES,), "min_side": side, "max_pixels": side * side}
    )
    scorer = Scorer(loaded, recipe, batch_size=options.batch_size, keep_all=options.keep_all)
    with Decoder(rules, side, processes=options.decode_processes) as decoder:
        decoded = decoder.decode(_metered(intermediate.pictures(), meter))
        yield from scorer.score(intermediate.restored(decoded))


def _metered(fetched: Iterator[Fetched], meter: Meter) -> Iterator[Fetched]:
    for item in fetched:
        meter.downloaded += 1
        yield item
