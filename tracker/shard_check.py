"""`check_shard`: is a shard what its manifest says, and what its recipe asks for?

A pure function of files. `python -m tracker.shard_check DIR` runs it on its own, with the manifest
and the recipe as JSON on standard input and the verdict as JSON on standard output; the tracker
runs it so, confined (see `verify`), because the files are strangers' and the readers are C++.
"""

import hashlib
import itertools
import resource
import sys
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from laion_protocol.manifest import Manifest
from laion_protocol.recipe import Recipe
from laion_protocol.shard_format import (
    COLUMNS,
    EMBEDDINGS_FILE,
    IMAGES_FILE,
    INTERMEDIATE_FILE,
    SHARD_FILE,
)
from laion_protocol.states import Stage
from tracker.intermediate_check import FetchedRows, check_continues, check_intermediate
from tracker.row_check import Invalid, check_rows
from tracker.verify import READY, Begun, CheckRequest, Verdict, numbered, series_of

#: Address space: libraries map about 1 GiB; the rest is room for one row group.
_MAX_MEMORY: Final = 3 * 2**30
_MAX_CPU_SECONDS: Final = 200
_MAX_DIMENSION: Final = 4096
_BATCH: Final = 256
#: float16 keeps 11 bits: a vector of unit length comes back within a few thousandths.
_NORM_TOLERANCE: Final = 0.01


def check_shard(
    directory: Path,
    manifest: Manifest,
    recipe: Recipe,
    *,
    side: int | None = None,
    begun: Begun | None = None,
) -> Verdict:
    """Check every file of a shard, or of an intermediate, against manifest and recipe.

    `side` and `begun` are as for `ShardChecker.check`. Raises nothing.
    """
    keys = b""
    try:
        _check_files(directory, manifest, recipe)
        if manifest.stage is Stage.FETCH:
            check_intermediate(
                _series(directory, INTERMEDIATE_FILE, manifest),
                _series(directory, IMAGES_FILE, manifest),
                manifest.counts.kept,
                recipe,
                side,
            )
        else:
            keys = _check_shard(directory, manifest, recipe, begun)
    except Invalid as error:
        return Verdict(accepted=False, reason=str(error))
    except Exception as error:  # noqa: BLE001 (a stranger's file may break a reader in any way)
        return Verdict(accepted=False, reason=f"the shard cannot be read ({type(error).__name__})")
    size = sum(entry.size for entry in manifest.files)
    return Verdict(accepted=True, rows=manifest.counts.kept, bytes=size, keys=keys)


def _check_shard(directory: Path, manifest: Manifest, recipe: Recipe, begun: Begun | None) -> bytes:
    """The keys of its pairs, for `tracker.dedupe`; none if the recipe wants no dedupe."""
    kept, take = manifest.counts.kept, None
    if begun is not None:
        check_continues(begun.manifest, manifest)
        if begun.directory is not None:
            paths = _series(begun.directory, INTERMEDIATE_FILE, begun.manifest)
            take = FetchedRows(paths, begun.manifest.counts.kept, recipe).expect
    elif manifest.stage is Stage.SCORE:
        raise Invalid("it is of a score stage, and nobody knows of an intermediate")
    keys = check_rows(_series(directory, SHARD_FILE, manifest), COLUMNS, kept, recipe, take)
    if recipe.embeddings:
        _check_embeddings(_series(directory, EMBEDDINGS_FILE, manifest), kept)
    return np.array(keys, "<u8").tobytes() if recipe.dedupe else b""


def _check_files(directory: Path, manifest: Manifest, recipe: Recipe) -> None:
    if manifest.recipe_sha256 != recipe.sha256:
        raise Invalid("the manifest names another recipe than the crawl's")
    names = [entry.name for entry in manifest.files]
    series = series_of(recipe, manifest.stage)
    wanted = [
        name
        for first in series
        for name in {first, *(path.name for path in _series(directory, first, manifest))}
    ]
    if sorted(names) != sorted(wanted):
        raise Invalid(f"a shard of this recipe is {', '.join(series)}, nothing else")
    for entry in manifest.files:
        path = directory / entry.name
        if not path.is_file() or path.stat().st_size != entry.size:
            raise Invalid(f"{entry.name} does not have the {entry.size} bytes of the manifest")
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != entry.sha256:
                raise Invalid(f"{entry.name} does not have the SHA-256 of the manifest")


def _series(directory: Path, first: str, manifest: Manifest) -> list[Path]:
    """The manifest's files `first`, then -1, -2 … without a gap."""
    names = {entry.name for entry in manifest.files}
    found = itertools.takewhile(
        names.__contains__, (numbered(first, number) for number in range(len(names)))
    )
    return [directory / name for name in found]


def _check_embeddings(paths: list[Path], kept: int) -> None:
    files = [_vectors(path) for path in paths]
    if sum(len(vectors) for vectors in files) != kept:
        raise Invalid(f"{EMBEDDINGS_FILE} does not have {kept} rows")
    if kept and len({vectors.shape[1] for vectors in files}) != 1:
        raise Invalid(f"the files of {EMBEDDINGS_FILE} differ in their vectors' length")
    for vectors in files:
        for start in range(0, len(vectors), _BATCH):
            norms = np.linalg.norm(vectors[start : start + _BATCH].astype(np.float32), axis=1)
            if not np.all(np.abs(norms - 1) <= _NORM_TOLERANCE):  # NaN is not <= anything
                raise Invalid(f"{EMBEDDINGS_FILE} has vectors that are not of length 1")


def _vectors(path: Path) -> npt.NDArray[np.float16]:
    # Mapped, not read: NumPy checks that the file is as long as its header says.
    vectors: npt.NDArray[np.float16] = np.load(path, mmap_mode="r", allow_pickle=False)
    if vectors.dtype != np.float16 or vectors.ndim != 2:
        raise Invalid(f"{EMBEDDINGS_FILE} is not a float16 array of two dimensions")
    if len(vectors) and not 1 <= vectors.shape[1] <= _MAX_DIMENSION:
        raise Invalid(f"{EMBEDDINGS_FILE} has vectors of {vectors.shape[1]} numbers")
    return vectors


def main() -> None:
    """`python -m tracker.shard_check DIR`."""
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    _confine()
    sys.stdout.buffer.write(READY)
    sys.stdout.flush()
    request = CheckRequest.model_validate_json(sys.stdin.buffer.read())
    verdict = check_shard(
        Path(sys.argv[1]),
        request.manifest,
        request.recipe,
        side=request.side,
        begun=request.begun,
    )
    sys.stdout.write(verdict.model_dump_json())


def _confine() -> None:
    """Limits that only this process has; set before the first byte of a stranger's is read."""
    for limit, value in (
        (resource.RLIMIT_AS, _MAX_MEMORY),
        (resource.RLIMIT_CPU, _MAX_CPU_SECONDS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))


if __name__ == "__main__":
    main()
