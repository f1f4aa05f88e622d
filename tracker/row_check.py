"""`check_rows`: are the parquet files of a shard, or of an intermediate, what they should be?"""

import re
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from laion_protocol.pair_key import pair_key
from laion_protocol.recipe import Recipe

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
_BATCH: Final = 256
#: So many rows at the bounds of every column have some 13 MiB.
_MAX_BATCH_BYTES: Final = 64 * 2**20
_MAX_PAGE_URL: Final = 32_768  # no limit on the wire; longer ones are not met in archives
_SIMILARITY_TOLERANCE: Final = 1e-6  # float32 beside the recipe's float64

_NSFW: Final = frozenset({"UNLIKELY", "UNSURE", "NSFW", "UNTAGGED"})
_SOURCES: Final = frozenset({"img", "srcset", "lazy", "picture"})
_HTTP: Final = re.compile(r"https?://[^/\s]", re.IGNORECASE)
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(-[A-Za-z]{2,8})?")
_HEX: Final = {32: re.compile(r"[0-9a-f]{32}"), 64: re.compile(r"[0-9a-f]{64}")}


class Invalid(Exception):
    """The shard is rejected; the message is the reason. Never repeats the shard's own text, since
    it is shown to people."""


def check_rows(
    paths: list[Path],
    columns: dict[str, str],
    kept: int,
    recipe: Recipe,
    take: Callable[[dict[str, Any]], None] | None = None,
) -> "array[int]":
    """Check every row of a series of files; each row's `pair_key`.

    Args:
        paths: in the order of the rows.
        columns: name and type of each, see `shard_format`.
        kept: how many rows the manifest tells of.
        recipe: sets the bounds.
        take: gets each row that is right; may raise `Invalid` too.

    Raises:
        Invalid: the first thing that is wrong.
    """
    told = 0
    for path in paths:  # what all footers tell, before any page is unpacked
        with _open(path) as parquet:
            _check_layout(parquet, path.name, columns)
            told += parquet.metadata.num_rows
    if told != kept:
        raise Invalid(f"the shard tells of {told} rows, the manifest counts {kept} kept")
    check = _RowCheck(recipe, scored="similarity" in columns)
    for path in paths:
        with _open(path) as parquet:
            for batch in parquet.iter_batches(batch_size=_BATCH, use_threads=False):
                for row in _rows(batch, path.name):
                    check.take(row)
                    if take is not None:
                        take(row)
    if check.rows != kept:
        raise Invalid(f"the shard has {check.rows} rows, the manifest counts {kept} kept")
    return check.keys


def _open(path: Path) -> pq.ParquetFile:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 8))
        tail = file.read(8)
    if len(tail) < 8 or tail[4:] != b"PAR1":
        raise Invalid(f"{path.name} is not a parquet file")
    if int.from_bytes(tail[:4], "little") > _MAX_FOOTER:
        raise Invalid(f"the footer of {path.name} is over {_MAX_FOOTER} bytes")
    return pq.ParquetFile(path, **_THRIFT_LIMITS)  # type: ignore[arg-type]


def _check_layout(parquet: pq.ParquetFile, name: str, columns: dict[str, str]) -> None:
    metadata, schema = parquet.metadata, parquet.schema_arrow
    wanted = pa.schema([(name, _arrow_type(kind)) for name, kind in columns.items()])
    if not schema.remove_metadata().equals(wanted, check_metadata=False):
        for have, want in zip(schema, wanted, strict=False):
            if (have.name, have.type) != (want.name, want.type):
                raise Invalid(f"where column {want.name} ({want.type}) should be is another")
        raise Invalid(f"{name} has {len(schema)} columns, not {len(wanted)}")
    if metadata.num_row_groups > _MAX_ROW_GROUPS:
        raise Invalid(f"{name} has more than {_MAX_ROW_GROUPS} row groups")
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    if sum(group.total_byte_size for group in groups) > _MAX_UNPACKED:
        raise Invalid(f"{name} unpacks to more than {_MAX_UNPACKED} bytes")


def _arrow_type(alias: str) -> pa.DataType:
    found: pa.DataType = pa.type_for_alias(alias)  # type: ignore[call-overload]
    return found


def _rows(batch: pa.RecordBatch, name: str) -> Iterator[dict[str, Any]]:
    if batch.nbytes > _MAX_BATCH_BYTES:
        raise Invalid(f"{_BATCH} rows of {name} unpack to more than {_MAX_BATCH_BYTES} bytes")
    for column, values in zip(batch.schema.names, batch.columns, strict=True):
        if values.null_count:
            raise Invalid(f"column {column} has empty values")
    yield from batch.to_pylist()


class _RowCheck:
    """The bounds of each row, and what holds between neighbours."""

    def __init__(self, recipe: Recipe, *, scored: bool) -> None:
        self.rows = 0
        self.keys = array("Q")
        self._recipe = recipe
        self._scored = scored
        self._mimes = frozenset(f"image/{name}" for name in recipe.formats)
        self._url = ""
        self._texts: set[str] = set()

    def take(self, row: dict[str, Any]) -> None:
        """Raises `Invalid` naming the row (from 1) and the column."""
        self.rows += 1
        for column, right in self._facts(row):
            if not right:
                raise Invalid(f"row {self.rows}: {column}")
        self._check_order(row["URL"], row["TEXT"])

    def _facts(self, row: dict[str, Any]) -> Iterator[tuple[str, bool]]:
        recipe = self._recipe
        url, text, width, height = row["URL"], row["TEXT"], row["WIDTH"], row["HEIGHT"]
        yield "URL is not an http(s) URL", bool(_HTTP.match(url))
        yield "URL is too long", len(url) <= recipe.max_url_chars
        yield "TEXT is too short", len(text) >= recipe.min_text_chars
        yield "TEXT is too long", len(text) <= recipe.max_text_chars
        key = pair_key(url, text)
        self.keys.append(key)
        yield "SAMPLE_ID is not that of URL and TEXT", row["SAMPLE_ID"] == key >> 1
        yield "LICENSE is not a URL", row["LICENSE"] == "" or bool(_HTTP.match(row["LICENSE"]))
        yield "LICENSE is too long", len(row["LICENSE"]) <= _MAX_PAGE_URL
        if self._scored:
            yield from self._scores(row)
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

    def _scores(self, row: dict[str, Any]) -> Iterator[tuple[str, bool]]:
        least, similarity = self._recipe.min_similarity, row["similarity"]
        yield "NSFW is not one of the tags", row["NSFW"] in _NSFW
        yield "NSFW is not tagged", (row["NSFW"] == "UNTAGGED") != self._recipe.safety
        low, high = least - _SIMILARITY_TOLERANCE, 1 + _SIMILARITY_TOLERANCE
        yield f"similarity is not within {least} and 1", low <= similarity <= high

    def _check_order(self, url: str, text: str) -> None:
        if url < self._url:  # order of code points, which is also the order of UTF-8 bytes
            raise Invalid(f"row {self.rows}: the rows are not sorted by URL")
        if url != self._url:
            self._url, self._texts = url, set()
        if text in self._texts:
            raise Invalid(f"row {self.rows}: the same URL and TEXT as an earlier row")
        self._texts.add(text)
