"""`Goal`: what a chunk's pictures are made into. A shard, or an intermediate for a score stage."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import chain
from pathlib import Path
from typing import Protocol, TypeVar

from laion_protocol import FileEntry, Recipe, Stage
from worker_client.samples import Decoded, Dropped, Fetched, Sample

from .decode import Decoder
from .fetched import FetchedWriter
from .lazy_model import LazyModel
from .options import ChainOptions
from .shard import ShardWriter

T = TypeVar("T")
Taken = TypeVar("Taken", contravariant=True)


class Writer(Protocol[Taken]):
    """Collects what a goal makes, and writes its files at the end."""

    def add(self, item: Taken, /) -> None:
        """Take one more."""

    def finish(self) -> tuple[FileEntry, ...]:
        """Put the files in place; what the manifest says of them."""


class Goal(Protocol[T]):
    """The second half of a lease that begins with a chunk."""

    @property
    def stage(self) -> Stage:
        """Of the manifest."""

    @property
    def model_sha256(self) -> str | None:
        """Of the model that scored; None when none did."""

    def writer(self, directory: Path) -> AbstractContextManager[Writer[T]]:
        """Where what `make` yields goes."""

    def make(self, fetched: Iterator[Fetched | Dropped]) -> Iterator[T | Dropped]:
        """The bodies that came from the web, as this goal wants them."""


class ShardGoal:
    """Decode and score: the rows of a shard."""

    stage = Stage.HYBRID

    def __init__(self, recipe: Recipe, model: LazyModel, options: ChainOptions) -> None:
        self._recipe = recipe
        self._model = model
        self._options = options

    @property
    def model_sha256(self) -> str | None:
        """Of the weights file."""
        return self._model.weights_sha256

    def writer(self, directory: Path) -> AbstractContextManager[Writer[Sample]]:
        """Parquet, and the embeddings if the recipe asks for them."""
        return ShardWriter(directory, embeddings=self._recipe.embeddings)

    def make(self, fetched: Iterator[Fetched | Dropped]) -> Iterator[Sample | Dropped]:
        """Without a single picture, no model is loaded and no process started."""
        for item in fetched:
            if isinstance(item, Dropped):
                yield item
                continue
            loaded = self._model.load()
            from .score import Scorer  # imports torch

            options = self._options
            scorer = Scorer(
                loaded, self._recipe, batch_size=options.batch_size, keep_all=options.keep_all
            )
            with Decoder(
                self._recipe, loaded.image_size, processes=options.decode_processes
            ) as decoder:
                yield from scorer.score(decoder.decode(chain([item], fetched)))


class IntermediateGoal:
    """Decode and resize: an intermediate. Needs no model, only the side of its pictures."""

    stage = Stage.FETCH
    model_sha256 = None

    def __init__(self, recipe: Recipe, side: int, options: ChainOptions) -> None:
        """`side` is that of the model's picture, pixels."""
        self._recipe = recipe
        self._side = side
        self._options = options

    def writer(self, directory: Path) -> AbstractContextManager[Writer[Decoded]]:
        """Parquet and tars."""
        return FetchedWriter(directory)

    def make(self, fetched: Iterator[Fetched | Dropped]) -> Iterator[Decoded | Dropped]:
        """Without a single picture, no process is started."""
        for item in fetched:
            if isinstance(item, Dropped):
                yield item
                continue
            with Decoder(
                self._recipe, self._side, processes=self._options.decode_processes
            ) as decoder:
                yield from decoder.decode(chain([item], fetched))
