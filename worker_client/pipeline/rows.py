"""`RowSpool`: rows as they come onto the disk, and from there sorted into parquet files.

So memory holds a few thousand rows however long the chunk is.
"""

from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from worker_client.samples import Decoded

from .shard_files import ParquetFiles

#: Rows held in memory before they are spooled, and read back at a time.
SPOOL_ROWS: Final = 2_000


def schema_of(columns: dict[str, str]) -> pa.Schema:
    """The Arrow schema of a file with these columns, see `shard_format`."""
    return pa.schema(
        [(name, pa.type_for_alias(kind)) for name, kind in columns.items()]  # type: ignore[call-overload]
    )


def fetched_row(decoded: Decoded, sample_id: int) -> dict[str, Any]:
    """Every column of a row that needs no model."""
    pair = decoded.pair
    return {
        "SAMPLE_ID": sample_id,
        "URL": pair.url,
        "TEXT": pair.text,
        "LICENSE": pair.license,
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


class RowSpool:
    """Takes rows in any order; use it in `with`. Every method raises OSError."""

    def __init__(self, scratch: Path, schema: pa.Schema) -> None:
        self.rows = 0
        self._scratch = scratch
        self._schema = schema
        self._waiting: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        with ExitStack() as exit:
            self._file: IO[bytes] = (self._scratch / "rows.arrow").open("wb")
            exit.callback(_close, self._file)
            self._stream = pa.ipc.new_stream(self._file, self._schema)
            self._exit = exit.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exit.close()

    def add(self, row: dict[str, Any]) -> None:
        """Take one more."""
        self.rows += 1
        self._waiting.append(row)
        if len(self._waiting) >= SPOOL_ROWS:
            self._spool_waiting()

    def write_sorted(self, name: str) -> tuple[list[Path], npt.NDArray[np.uint64]]:
        """The files `name`, -1, -2 … sorted by URL and TEXT, and which row came where."""
        self._spool_waiting()
        self._stream.close()
        self._file.close()
        with pa.memory_map(str(self._scratch / "rows.arrow")) as spooled:
            table = pa.ipc.open_stream(spooled).read_all()
            indices = pc.sort_indices(
                table, sort_keys=[("URL", "ascending"), ("TEXT", "ascending")]
            )
            with ParquetFiles(self._scratch, name, self._schema) as files:
                for start in range(0, len(table), files.GROUP_ROWS):
                    files.write(table.take(indices.slice(start, files.GROUP_ROWS)))
            return files.paths, indices.to_numpy()

    def _spool_waiting(self) -> None:
        if self._waiting:
            self._stream.write_table(pa.Table.from_pylist(self._waiting, schema=self._schema))
            self._waiting.clear()


def _close(file: IO[bytes]) -> None:
    with suppress(OSError):  # a full disk was told of where it was met; this file is not wanted
        file.close()
