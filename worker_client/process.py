"""`process`: one chunk of one archive to a shard on this disk, without a tracker."""

import threading
from pathlib import Path
from urllib.parse import urlsplit

from laion_protocol import Manifest, ModelSpec, Recipe, SourceKind

from .errors import BadUsage
from .interrupt import stopping
from .meter import Meter
from .pipeline.chain import ChainOptions, run_chunk
from .pipeline.lazy_model import LazyModel
from .pipeline.model_files import ModelFiles, file_sha256
from .pipeline.source import Chunk
from .progress import Report


def process(
    chunk: Chunk,
    recipe: Recipe,
    files: ModelFiles | None,
    directory: Path,
    options: ChainOptions,
    report: Report,
) -> Manifest:
    """Run the pipeline once; Ctrl-C stops it and leaves nothing half.

    Raises:
        BadUsage: the location is a URL without a host.
        Interrupted: it was stopped.
        Exception: what `run_chunk` raises.
    """
    if chunk.location.startswith(("http:", "https:")) and not _has_host(chunk.location):
        raise BadUsage(f"{chunk.location} is not a URL: it names no host; give a file or a URL")
    stop = threading.Event()
    meter = Meter()
    model = LazyModel(recipe.model, files)
    name = chunk.location.rpartition("/")[2] or chunk.location
    with stopping(stop), report.watching(meter, name):
        return run_chunk(chunk, recipe, model, directory, options, meter, stop)


def kind_of(location: str) -> SourceKind:
    """What a file's name says about it: `.wat` and `.wat.gz` are WAT, all others WARC."""
    name = location.partition("?")[0].lower().removesuffix(".gz")
    return SourceKind.WAT if name.endswith(".wat") else SourceKind.WARC


def _has_host(url: str) -> bool:
    try:
        return bool(urlsplit(url).hostname)
    except ValueError:
        return False


def spec_of_files(files: ModelFiles) -> ModelSpec:
    """The spec that names these files by their hashes.

    Raises:
        BadUsage: one of them cannot be read.
    """
    hashes = []
    for option, path in (("--model-config", files.config), ("--model-weights", files.weights)):
        try:
            hashes.append(file_sha256(path))
        except OSError as error:
            raise BadUsage(f"{option}: {path} cannot be read: {error.strerror}") from error
    return ModelSpec(
        architecture=files.config.stem[:100], config_sha256=hashes[0], weights_sha256=hashes[1]
    )
