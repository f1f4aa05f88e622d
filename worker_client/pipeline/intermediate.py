"""`Intermediate`: what another worker fetched, read back as the score stage wants it."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from laion_protocol import Manifest
from laion_protocol.picture_tar import NotPictures, most_bytes, read_pictures
from laion_protocol.shard_format import IMAGES_FILE, INTERMEDIATE_FILE
from worker_client.samples import Decoded, Dropped, Fetched, Pair

from .fetched import FETCHED_SCHEMA

#: As much text as 100,000 rows could have and no memory should be asked for.
_MOST_UNPACKED: Final = 512 * 2**20
#: The parquet reader stops here instead of allocating what a lying footer asks for (bytes, items).
_THRIFT_LIMITS: Final[dict[str, Any]] = {
    "thrift_string_size_limit": 2 * 2**20,
    "thrift_container_size_limit": 100_000,
}


class IntermediateBroken(Exception):
    """The tracker accepted it, and still its files do not fit together; the job must start over."""


class Intermediate:
    """The rows and pictures of a fetch stage.

    Args:
        directory: holds the files that `manifest` lists, their hashes checked.
        manifest: of the fetch stage.
        side: of the pictures that the model takes, pixels.

    Raises:
        IntermediateBroken: the rows cannot be read.
    """

    def __init__(self, directory: Path, manifest: Manifest, side: int) -> None:
        names = [entry.name for entry in manifest.files]
        self._tars = [directory / name for name in names if _is_of(IMAGES_FILE, name)]
        self._most = most_bytes(side)
        self._kept = manifest.counts.kept
        rows = [directory / name for name in names if _is_of(INTERMEDIATE_FILE, name)]
        try:
            self._table = _read(rows)
        except (pa.ArrowException, OSError) as error:
            raise IntermediateBroken(f"the rows cannot be read ({type(error).__name__})") from error
        self._places = {key.as_py(): at for at, key in enumerate(self._table["SAMPLE_ID"])}
        if not len(self._places) == len(self._table) == self._kept:
            raise IntermediateBroken(
                f"it has {len(self._places)} different rows, and its manifest counts {self._kept}"
            )
        self._out: dict[Pair, dict[str, Any]] = {}  # read, and not yet decoded

    def pictures(self) -> Iterator[Fetched]:
        """Each picture with its pair, in the order of the tars.

        Raises:
            IntermediateBroken: there are others than the rows tell of.
        """
        left = dict(self._places)
        for path in self._tars:
            with path.open("rb") as file:
                try:
                    for key, body in read_pictures(file, most=self._most):
                        if (at := left.pop(key, None)) is None:
                            raise IntermediateBroken("a picture belongs to no row")
                        (row,) = self._table.slice(at, 1).to_pylist()
                        pair = _pair(row)
                        self._out[pair] = row
                        yield Fetched(pair, body)
                except NotPictures as error:
                    raise IntermediateBroken(f"{path.name}: {error}") from error
        if left:
            raise IntermediateBroken(f"{len(left)} rows have no picture")

    def restored(self, items: Iterable[Decoded | Dropped]) -> Iterator[Decoded | Dropped]:
        """What was told of the original goes back onto the decoded pictures."""
        for item in items:
            row = self._out.pop(item.pair)
            if isinstance(item, Dropped):
                yield item
                continue
            yield replace(
                item,
                width=row["WIDTH"],
                height=row["HEIGHT"],
                mime=row["mime"],
                bytes=row["bytes"],
                md5=row["md5"],
                sha256=row["sha256"],
            )


def _read(paths: list[Path]) -> pa.Table:
    tables = []
    for path in paths:
        with pq.ParquetFile(path, **_THRIFT_LIMITS) as parquet:
            metadata = parquet.metadata
            size = sum(
                metadata.row_group(n).total_byte_size for n in range(metadata.num_row_groups)
            )
            if size > _MOST_UNPACKED or not parquet.schema_arrow.equals(FETCHED_SCHEMA):
                raise pa.ArrowInvalid("not the rows of an intermediate")
            tables.append(parquet.read())
    return pa.concat_tables(tables) if tables else FETCHED_SCHEMA.empty_table()


def _is_of(first: str, name: str) -> bool:
    """Whether a file is `first`, or one of the same series: `images-3.tar`."""
    stem, _, suffix = first.rpartition(".")
    return name == first or (name.startswith(f"{stem}-") and name.endswith(f".{suffix}"))


def _pair(row: dict[str, Any]) -> Pair:
    return Pair(
        url=row["URL"],
        text=row["TEXT"],
        page_url=row["page_url"],
        license=row["LICENSE"],
        source=row["source"],
        language=row["LANGUAGE"],
    )
