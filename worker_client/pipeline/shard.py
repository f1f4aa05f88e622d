"""`ShardWriter`: samples into the files of a shard; `write_manifest`: the last file of all.

Samples are spooled to disk as they come and sorted at the end, so that memory holds a few thousand
rows however long the chunk is.
"""

import hashlib
import shutil
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from laion_protocol.manifest import FileEntry, Manifest
from laion_protocol.shard_format import COLUMNS, EMBEDDINGS_FILE, SHARD_FILE
from worker_client.disk import put_in_place, write_whole, writing_to
from worker_client.samples import Sample

from .model_files import file_sha256
from .shard_files import EmbeddingFiles, ParquetFiles

MANIFEST_FILE: Final = "manifest.json"
SCHEMA: Final = pa.schema(
    [(name, pa.type_for_alias(kind)) for name, kind in COLUMNS.items()]  # type: ignore[call-overload]
)

#: Rows held in memory before they are spooled, and read back at a time.
_SPOOL_ROWS: Final = 2_000


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
        self._waiting: list[Sample] = []
        self._dimension = 1  # of an empty file, for which there is no embedding to ask

    def __enter__(self) -> Self:
        with writing_to(self._directory), ExitStack() as exit:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._scratch = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=self._directory))
            exit.callback(shutil.rmtree, self._scratch, ignore_errors=True)
            self._row_file: IO[bytes] = (self._scratch / "rows.arrow").open("wb")
            exit.callback(_close, self._row_file)
            self._vector_file: IO[bytes] = (self._scratch / "vectors.f16").open("wb")
            exit.callback(_close, self._vector_file)
            self._spool = pa.ipc.new_stream(self._row_file, SCHEMA)
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
        self._waiting.append(sample)
        if len(self._waiting) >= _SPOOL_ROWS:
            self._spool_waiting()

    def finish(self) -> tuple[FileEntry, ...]:
        """Sort, write, and put the files in place; what the manifest says of them."""
        self._spool_waiting()
        with writing_to(self._directory):
            self._spool.close()
            self._row_file.close()
            self._vector_file.close()
            finished = self._write_sorted()
            entries = tuple(
                FileEntry(name=path.name, size=path.stat().st_size, sha256=file_sha256(path))
                for path in finished
            )
            remove_shard(self._directory)
            for path in finished:
                put_in_place(path, self._directory / path.name)
        return entries

    def _spool_waiting(self) -> None:
        if not self._waiting:
            return
        with writing_to(self._directory):
            self._spool.write_table(_table(self._waiting))
            if self._embeddings:
                for sample in self._waiting:
                    if sample.embedding is None:
                        raise ValueError("the recipe asks for embeddings, the sample has none")
                    self._dimension = len(sample.embedding)
                    self._vector_file.write(sample.embedding.astype("<f2").tobytes())
        self._waiting.clear()

    def _write_sorted(self) -> list[Path]:
        with pa.memory_map(str(self._scratch / "rows.arrow")) as spooled:
            table = pa.ipc.open_stream(spooled).read_all()
            indices = pc.sort_indices(
                table, sort_keys=[("URL", "ascending"), ("TEXT", "ascending")]
            )
            with ParquetFiles(self._scratch, SHARD_FILE, SCHEMA) as files:
                for start in range(0, len(table), files.GROUP_ROWS):
                    files.write(table.take(indices.slice(start, files.GROUP_ROWS)))
            written = files.paths
        if self._embeddings:
            written += self._write_embeddings(indices.to_numpy())
        return written

    def _write_embeddings(self, order: npt.NDArray[np.uint64]) -> list[Path]:
        shape = (self.rows, self._dimension)
        vectors: Any = np.zeros(shape, "<f2")
        if self.rows:
            vectors = np.memmap(self._scratch / "vectors.f16", "<f2", "r", shape=shape)
        with EmbeddingFiles(self._scratch, EMBEDDINGS_FILE, *shape) as files:
            for start in range(0, self.rows, _SPOOL_ROWS):
                files.write(vectors[order[start : start + _SPOOL_ROWS]])
        return files.paths


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write `manifest.json`; a directory that has one holds a whole shard.

    Raises:
        DiskFull, OutputRefused: it could not be written.
    """
    with writing_to(directory):
        content = manifest.model_dump_json(indent=2).encode()
        write_whole(directory / MANIFEST_FILE, content + b"\n")


def remove_shard(directory: Path) -> None:
    """Remove an earlier shard's files, the manifest first. Raises OSError."""
    (directory / MANIFEST_FILE).unlink(missing_ok=True)
    for first in (SHARD_FILE, EMBEDDINGS_FILE):
        stem, dot, suffix = first.rpartition(".")
        for path in (directory / first, *directory.glob(f"{stem}-*{dot}{suffix}")):
            path.unlink(missing_ok=True)


def sample_id(url: str, text: str) -> int:
    """The first 63 bits of SHA-256 over URL, newline, text: the same pair, the same id."""
    digest = hashlib.sha256(f"{url}\n{text}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _close(file: IO[bytes]) -> None:
    with suppress(OSError):  # a full disk was told of where it was met; this file is not wanted
        file.close()


def _table(samples: list[Sample]) -> pa.Table:
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for sample in samples:
        for name, value in _row(sample).items():
            columns[name].append(value)
    return pa.table(columns, schema=SCHEMA)


def _row(sample: Sample) -> dict[str, Any]:
    decoded = sample.decoded
    pair = decoded.pair
    return {
        "SAMPLE_ID": sample_id(pair.url, pair.text),
        "URL": pair.url,
        "TEXT": pair.text,
        "LICENSE": pair.license,
        "NSFW": sample.nsfw,
        "similarity": sample.similarity,
        "WIDTH": decoded.width,
        "HEIGHT": decoded.height,
        "LANGUAGE": pair.language,
        "page_url": pair.page_url,
        "mime": decoded.mime,
        "bytes": decoded.bytes,
        "md5": decoded.md5,
        "sha256": decoded.sha256,
        "source": pair.source,
    }
