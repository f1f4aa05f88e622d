"""`ShardWriter`: samples into the files of a shard; `write_manifest`: the last file of all."""

import shutil
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

import numpy as np
import numpy.typing as npt

from laion_protocol.manifest import FileEntry, Manifest
from laion_protocol.pair_key import sample_id
from laion_protocol.shard_format import (
    COLUMNS,
    EMBEDDINGS_FILE,
    IMAGES_FILE,
    INTERMEDIATE_FILE,
    SHARD_FILE,
)
from worker_client.disk import put_in_place, write_whole, writing_to
from worker_client.samples import Sample

from .model_files import file_sha256
from .rows import SPOOL_ROWS, RowSpool, fetched_row, schema_of
from .shard_files import EmbeddingFiles

MANIFEST_FILE: Final = "manifest.json"
SCHEMA: Final = schema_of(COLUMNS)


class ShardWriter:
    """Collects samples, then writes a shard into a directory; use it in `with`.

    Nothing appears under its final name before `finish`, and whatever was begun is removed when
    the block is left. Every method raises `DiskFull` or `OutputRefused`.

    Args:
        directory: made if need be; files of an earlier shard in it are replaced.
        embeddings: also write the image embeddings, in the order of the rows.
    """

    def __init__(self, directory: Path, *, embeddings: bool = False) -> None:
        self.rows = 0
        self._directory = directory
        self._embeddings = embeddings
        self._dimension = 1  # of an empty file, for which there is no embedding to ask

    def __enter__(self) -> Self:
        with writing_to(self._directory), ExitStack() as exit:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._scratch = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=self._directory))
            exit.callback(shutil.rmtree, self._scratch, ignore_errors=True)
            self._vector_file: IO[bytes] = (self._scratch / "vectors.f16").open("wb")
            exit.callback(_close, self._vector_file)
            self._spool = exit.enter_context(RowSpool(self._scratch, SCHEMA))
            self._exit = exit.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exit.close()

    def add(self, sample: Sample) -> None:
        """Take one more row."""
        self.rows += 1
        with writing_to(self._directory):
            self._spool.add(_row(sample))
            if self._embeddings:
                if sample.embedding is None:
                    raise ValueError("the recipe asks for embeddings, the sample has none")
                self._dimension = len(sample.embedding)
                self._vector_file.write(sample.embedding.astype("<f2").tobytes())

    def finish(self) -> tuple[FileEntry, ...]:
        """Sort, write, and put the files in place; what the manifest says of them."""
        with writing_to(self._directory):
            self._vector_file.close()
            finished, order = self._spool.write_sorted(SHARD_FILE)
            if self._embeddings:
                finished += self._write_embeddings(order)
            return put_all_in_place(finished, self._directory)

    def _write_embeddings(self, order: npt.NDArray[np.uint64]) -> list[Path]:
        shape = (self.rows, self._dimension)
        vectors: Any = np.zeros(shape, "<f2")
        if self.rows:
            vectors = np.memmap(self._scratch / "vectors.f16", "<f2", "r", shape=shape)
        with EmbeddingFiles(self._scratch, EMBEDDINGS_FILE, *shape) as files:
            for start in range(0, self.rows, SPOOL_ROWS):
                files.write(vectors[order[start : start + SPOOL_ROWS]])
        return files.paths


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write `manifest.json`; a directory that has one holds a whole shard.

    Raises:
        DiskFull, OutputRefused: it could not be written.
    """
    with writing_to(directory):
        content = manifest.model_dump_json(indent=2).encode()
        write_whole(directory / MANIFEST_FILE, content + b"\n")


def put_all_in_place(finished: list[Path], directory: Path) -> tuple[FileEntry, ...]:
    """Move finished files to their place, instead of an earlier shard's; what the manifest says of
    them. Raises OSError."""
    entries = tuple(
        FileEntry(name=path.name, size=path.stat().st_size, sha256=file_sha256(path))
        for path in finished
    )
    remove_shard(directory)
    for path in finished:
        put_in_place(path, directory / path.name)
    return entries


def remove_shard(directory: Path) -> None:
    """Remove an earlier shard's files, the manifest first. Raises OSError."""
    (directory / MANIFEST_FILE).unlink(missing_ok=True)
    for first in (SHARD_FILE, EMBEDDINGS_FILE, INTERMEDIATE_FILE, IMAGES_FILE):
        stem, dot, suffix = first.rpartition(".")
        for path in (directory / first, *directory.glob(f"{stem}-*{dot}{suffix}")):
            path.unlink(missing_ok=True)


def _close(file: IO[bytes]) -> None:
    with suppress(OSError):  # a full disk was told of where it was met; this file is not wanted
        file.close()


def _row(sample: Sample) -> dict[str, Any]:
    decoded = sample.decoded
    return {
        **fetched_row(decoded, sample_id(decoded.pair.url, decoded.pair.text)),
        "NSFW": sample.nsfw,
        "similarity": sample.similarity,
    }
