"""`check_shard`: is a shard what its manifest says, and what its recipe asks for?

A pure function of files. `python -m tracker.shard_check DIR` runs it on its own, with the manifest
and the recipe as JSON on standard input and the verdict as JSON on standard output; the tracker
runs it so, confined (see `verify`), because the files are strangers' and the readers are C++.
"""

import hashlib
import itertools
import re
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from laion_protocol.manifest import Manifest
from laion_protocol.recipe import Recipe
from laion_protocol.shard_format import COLUMNS, EMBEDDINGS_FILE, SHARD_FILE
from tracker.verify import READY, CheckRequest, Verdict, numbered, series_of

#: A footer for 15 columns is a few kilobytes a row group; this is room for hundreds of groups.
_MAX_FOOTER: Final = 2 * 2**20
_MAX_ROW_GROUPS: Final = 256
#: 32 MiB of zstd text unpack to some 150 MiB; more than this is made to hurt.
_MAX_UNPACKED: Final = 512 * 2**20
#: The parquet reader stops here instead of allocating what a lying footer asks for (bytes, items).
_THRIFT_LIMITS: Final = {
    "thrift_string_size_limit": _MAX_FOOTER,
    "thrift_container_size_limit": 100_000,
}
#: Address space: libraries map about 1 GiB; the rest is room for one row group.
_MAX_MEMORY: Final = 3 * 2**30
_MAX_CPU_SECONDS: Final = 200
_BATCH: Final = 256
#: So many rows at the bounds of every column have some 13 MiB.
_MAX_BATCH_BYTES: Final = 64 * 2**20
_MAX_PAGE_URL: Final = 32_768  # no limit on the wire; longer ones are not met in archives
_MAX_DIMENSION: Final = 4096
#: float16 keeps 11 bits: a vector of unit length comes back within a few thousandths.
_NORM_TOLERANCE: Final = 0.01
_SIMILARITY_TOLERANCE: Final = 1e-6  # float32 beside the recipe's float64

_NSFW: Final = frozenset({"UNLIKELY", "UNSURE", "NSFW", "UNTAGGED"})
_SOURCES: Final = frozenset({"img", "srcset", "lazy", "picture"})
_HTTP: Final = re.compile(r"https?://[^/\s]", re.IGNORECASE)
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(-[A-Za-z]{2,8})?")
_HEX: Final = {32: re.compile(r"[0-9a-f]{32}"), 64: re.compile(r"[0-9a-f]{64}")}


class _Invalid(Exception):
    """The shard is rejected; the message is the reason. Never repeats the shard's own text, since
    it is shown to people."""


def check_shard(directory: Path, manifest: Manifest, recipe: Recipe) -> Verdict:
    """Check every file of a shard against manifest and recipe. Raises nothing."""
    try:
        _check_files(directory, manifest, recipe)
        _check_rows(_series(directory, SHARD_FILE, manifest), manifest, recipe)
        if recipe.embeddings:
            _check_embeddings(_series(directory, EMBEDDINGS_FILE, manifest), manifest.counts.kept)
    except _Invalid as error:
        return Verdict(accepted=False, reason=str(error))
    except Exception as error:  # noqa: BLE001 (a stranger's file may break a reader in any way)
        return Verdict(accepted=False, reason=f"the shard cannot be read ({type(error).__name__})")
    size = sum(entry.size for entry in manifest.files)
    return Verdict(accepted=True, rows=manifest.counts.kept, bytes=size)


def _check_files(directory: Path, manifest: Manifest, recipe: Recipe) -> None:
    if manifest.recipe_sha256 != recipe.sha256:
        raise _Invalid("the manifest names another recipe than the crawl's")
    names = [entry.name for entry in manifest.files]
    wanted = [
        name
        for first in series_of(recipe)
        for name in {first, *(path.name for path in _series(directory, first, manifest))}
    ]
    if sorted(names) != sorted(wanted):
        raise _Invalid(f"a shard of this recipe is {', '.join(series_of(recipe))}, nothing else")
    for entry in manifest.files:
        path = directory / entry.name
        if not path.is_file() or path.stat().st_size != entry.size:
            raise _Invalid(f"{entry.name} does not have the {entry.size} bytes of the manifest")
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != entry.sha256:
                raise _Invalid(f"{entry.name} does not have the SHA-256 of the manifest")


def _series(directory: Path, first: str, manifest: Manifest) -> list[Path]:
    """The manifest's files `first`, then -1, -2 … without a gap."""
    names = {entry.name for entry in manifest.files}
    found = itertools.takewhile(
        names.__contains__, (numbered(first, number) for number in range(len(names)))
    )
    return [directory / name for name in found]


def _check_rows(paths: list[Path], manifest: Manifest, recipe: Recipe) -> None:
    kept, told = manifest.counts.kept, 0
    for path in paths:  # what all footers tell, before any page is unpacked
        with _open(path) as parquet:
            _check_layout(parquet)
            told += parquet.metadata.num_rows
    if told != kept:
        raise _Invalid(f"the shard tells of {told} rows, the manifest counts {kept} kept")
    check = _RowCheck(recipe)
    for path in paths:
        with _open(path) as parquet:
            for batch in parquet.iter_batches(batch_size=_BATCH, use_threads=False):
                for row in _rows(batch):
                    check.take(row)
    if check.rows != kept:
        raise _Invalid(f"the shard has {check.rows} rows, the manifest counts {kept} kept")


def _open(path: Path) -> pq.ParquetFile:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 8))
        tail = file.read(8)
    if len(tail) < 8 or tail[4:] != b"PAR1":
        raise _Invalid(f"{SHARD_FILE} is not a parquet file")
    if int.from_bytes(tail[:4], "little") > _MAX_FOOTER:
        raise _Invalid(f"the footer of {SHARD_FILE} is over {_MAX_FOOTER} bytes")
    return pq.ParquetFile(path, **_THRIFT_LIMITS)  # type: ignore[arg-type]


def _check_layout(parquet: pq.ParquetFile) -> None:
    metadata, schema = parquet.metadata, parquet.schema_arrow
    wanted = pa.schema([(name, _arrow_type(kind)) for name, kind in COLUMNS.items()])
    if not schema.remove_metadata().equals(wanted, check_metadata=False):
        for have, want in zip(schema, wanted, strict=False):
            if (have.name, have.type) != (want.name, want.type):
                raise _Invalid(f"where column {want.name} ({want.type}) should be is another")
        raise _Invalid(f"{SHARD_FILE} has {len(schema)} columns, not {len(wanted)}")
    if metadata.num_row_groups > _MAX_ROW_GROUPS:
        raise _Invalid(f"{SHARD_FILE} has more than {_MAX_ROW_GROUPS} row groups")
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    if sum(group.total_byte_size for group in groups) > _MAX_UNPACKED:
        raise _Invalid(f"{SHARD_FILE} unpacks to more than {_MAX_UNPACKED} bytes")


def _arrow_type(alias: str) -> pa.DataType:
    found: pa.DataType = pa.type_for_alias(alias)  # type: ignore[call-overload]
    return found


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    if batch.nbytes > _MAX_BATCH_BYTES:
        raise _Invalid(
            f"{_BATCH} rows of {SHARD_FILE} unpack to more than {_MAX_BATCH_BYTES} bytes"
        )
    for name, column in zip(COLUMNS, batch.columns, strict=True):
        if column.null_count:
            raise _Invalid(f"column {name} has empty values")
    yield from batch.to_pylist()


class _RowCheck:
    """The bounds of each row, and what holds between neighbours."""

    def __init__(self, recipe: Recipe) -> None:
        self.rows = 0
        self._recipe = recipe
        self._mimes = frozenset(f"image/{name}" for name in recipe.formats)
        self._url = ""
        self._texts: set[str] = set()

    def take(self, row: dict[str, Any]) -> None:
        """Raises `_Invalid` naming the row (from 1) and the column."""
        self.rows += 1
        for column, right in self._facts(row):
            if not right:
                raise _Invalid(f"row {self.rows}: {column}")
        self._check_order(row["URL"], row["TEXT"])

    def _facts(self, row: dict[str, Any]) -> Iterator[tuple[str, bool]]:
        recipe = self._recipe
        url, text, width, height = row["URL"], row["TEXT"], row["WIDTH"], row["HEIGHT"]
        yield "URL is not an http(s) URL", bool(_HTTP.match(url))
        yield "URL is too long", len(url) <= recipe.max_url_chars
        yield "TEXT is too short", len(text) >= recipe.min_text_chars
        yield "TEXT is too long", len(text) <= recipe.max_text_chars
        yield "SAMPLE_ID is not that of URL and TEXT", row["SAMPLE_ID"] == sample_id(url, text)
        yield "LICENSE is not a URL", row["LICENSE"] == "" or bool(_HTTP.match(row["LICENSE"]))
        yield "LICENSE is too long", len(row["LICENSE"]) <= _MAX_PAGE_URL
        yield "NSFW is not one of the tags", row["NSFW"] in _NSFW
        yield "NSFW is not tagged", (row["NSFW"] == "UNTAGGED") != recipe.safety
        similarity = row["similarity"]
        low, high = recipe.min_similarity - _SIMILARITY_TOLERANCE, 1 + _SIMILARITY_TOLERANCE
        yield f"similarity is not within {recipe.min_similarity} and 1", low <= similarity <= high
        yield f"a side is under {recipe.min_side} pixels", min(width, height) >= recipe.min_side
        yield f"more than {recipe.max_pixels} pixels", width * height <= recipe.max_pixels
        language = row["LANGUAGE"]
        yield "LANGUAGE is not a language code", bool(_LANGUAGE.fullmatch(language))
        yield "LANGUAGE is not in the recipe", not recipe.languages or language in recipe.languages
        yield "page_url is too long", len(row["page_url"]) <= _MAX_PAGE_URL
        yield "mime is not of the recipe", row["mime"] in self._mimes
        yield (
            "bytes is out of the recipe's bounds",
            recipe.min_image_bytes <= row["bytes"] <= recipe.max_image_bytes,
        )
        yield "md5 is not 32 hex digits", bool(_HEX[32].fullmatch(row["md5"]))
        yield "sha256 is not 64 hex digits", bool(_HEX[64].fullmatch(row["sha256"]))
        yield "source is not one of the places", row["source"] in _SOURCES

    def _check_order(self, url: str, text: str) -> None:
        if url < self._url:  # order of code points, which is also the order of UTF-8 bytes
            raise _Invalid(f"row {self.rows}: the rows are not sorted by URL")
        if url != self._url:
            self._url, self._texts = url, set()
        if text in self._texts:
            raise _Invalid(f"row {self.rows}: the same URL and TEXT as an earlier row")
        self._texts.add(text)


def sample_id(url: str, text: str) -> int:
    """The first 63 bits of SHA-256 over URL, newline, TEXT."""
    digest = hashlib.sha256(f"{url}\n{text}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _check_embeddings(paths: list[Path], kept: int) -> None:
    files = [_vectors(path) for path in paths]
    if sum(len(vectors) for vectors in files) != kept:
        raise _Invalid(f"{EMBEDDINGS_FILE} does not have {kept} rows")
    if kept and len({vectors.shape[1] for vectors in files}) != 1:
        raise _Invalid(f"the files of {EMBEDDINGS_FILE} differ in their vectors' length")
    for vectors in files:
        for start in range(0, len(vectors), _BATCH):
            norms = np.linalg.norm(vectors[start : start + _BATCH].astype(np.float32), axis=1)
            if not np.all(np.abs(norms - 1) <= _NORM_TOLERANCE):  # NaN is not <= anything
                raise _Invalid(f"{EMBEDDINGS_FILE} has vectors that are not of length 1")


def _vectors(path: Path) -> npt.NDArray[np.float16]:
    # Mapped, not read: NumPy checks that the file is as long as its header says.
    vectors: npt.NDArray[np.float16] = np.load(path, mmap_mode="r", allow_pickle=False)
    if vectors.dtype != np.float16 or vectors.ndim != 2:
        raise _Invalid(f"{EMBEDDINGS_FILE} is not a float16 array of two dimensions")
    if len(vectors) and not 1 <= vectors.shape[1] <= _MAX_DIMENSION:
        raise _Invalid(f"{EMBEDDINGS_FILE} has vectors of {vectors.shape[1]} numbers")
    return vectors


def main() -> None:
    """`python -m tracker.shard_check DIR`."""
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    _confine()
    sys.stdout.buffer.write(READY)
    sys.stdout.flush()
    request = CheckRequest.model_validate_json(sys.stdin.buffer.read())
    verdict = check_shard(Path(sys.argv[1]), request.manifest, request.recipe)
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
