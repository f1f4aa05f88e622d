"""`ParquetFiles`, `EmbeddingFiles`, `TarFiles`: rows into as many files as the size limit asks for.

Nearly always that is one file, under its plain name; the second would be `shard-1.parquet`.
"""

import os
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import IO, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from laion_protocol.picture_tar import END, packed
from laion_protocol.shard_format import MAX_FILE_BYTES, MAX_FILES

#: A row group is at most this long before compression, so what it adds to a file has a bound.
_GROUP_BYTES: Final = 8 * 2**20
#: Room for one more row group that does not compress, and the footer.
_MARGIN: Final = _GROUP_BYTES + 2 * 2**20
#: The tracker reads no more row groups in one file.
_MOST_GROUPS: Final = 256

#: Columns of few values; a dictionary of any other column only costs.
_DICTIONARY: Final = ["LANGUAGE", "NSFW", "LICENSE", "mime", "source"]


class ShardTooLarge(Exception):
    """More files than a shard may have; the crawl must cut its sources into more parts."""


class _NumberedFiles(ABC):
    """Files `name.suffix`, `name-1.suffix`, … in a directory, synced when closed."""

    #: Of one name, at most: rows and embeddings share the limit.
    MOST: ClassVar[int] = MAX_FILES // 2

    def __init__(self, directory: Path, name: str) -> None:
        self.paths: list[Path] = []
        self._directory = directory
        self._stem, _, self._suffix = name.rpartition(".")
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._end()
        finally:
            self._abandon()

    @abstractmethod
    def _start(self) -> None:
        """Begin the next file."""

    def _end(self) -> None:
        """Make the file at hand whole, if there is one."""
        self._sync()

    def _open_next(self) -> IO[bytes]:
        number = len(self.paths)
        if number >= self.MOST:
            raise ShardTooLarge(
                f"the shard is larger than {number} files of {MAX_FILE_BYTES} bytes; "
                "its crawl must be cut into more parts"
            )
        name = f"{self._stem}-{number}" if number else self._stem
        path = self._directory / f"{name}.{self._suffix}"
        self._file = path.open("wb")
        self.paths.append(path)
        return self._file

    def _sync(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None

    def _abandon(self) -> None:
        if self._file is not None:
            try:
                self._file.close()
            except OSError:  # a full disk; the error that led here says so
                return


class ParquetFiles(_NumberedFiles):
    """Row groups in, whole parquet files out; an empty file when there is no row at all."""

    GROUP_ROWS: ClassVar[int] = 10_000

    def __init__(self, directory: Path, name: str, schema: pa.Schema) -> None:
        super().__init__(directory, name)
        self._schema = schema
        self._writer: pq.ParquetWriter | None = None
        self._groups = 0

    def write(self, rows: pa.Table) -> None:
        """Append rows, at most `GROUP_ROWS` of them, as one row group or, if long, several."""
        if rows.nbytes > _GROUP_BYTES and len(rows) > 1:
            half = len(rows) // 2
            self.write(rows.slice(0, half))
            self.write(rows.slice(half))
            return
        assert self._writer is not None, "use `with`"
        assert self._file is not None, "use `with`"
        if self._file.tell() + _MARGIN > MAX_FILE_BYTES or self._groups >= _MOST_GROUPS:
            self._end()
            self._start()
        self._writer.write_table(rows, row_group_size=self.GROUP_ROWS)
        self._groups += 1

    def _start(self) -> None:
        # zstd 3, and front coding of the sorted URLs, measured smallest at full speed
        self._writer = pq.ParquetWriter(
            self._open_next(),
            self._schema,
            compression="zstd",
            compression_level=3,
            # the stubs know bool only
            use_dictionary=_DICTIONARY,  # type: ignore[arg-type]
            column_encoding={"URL": "DELTA_BYTE_ARRAY"},
        )
        self._groups = 0

    def _end(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        super()._end()


class EmbeddingFiles(_NumberedFiles):
    """float16 vectors in, npy files out, all rows of a file in one array."""

    _HEADER: ClassVar[int] = 128

    def __init__(self, directory: Path, name: str, rows: int, dimension: int) -> None:
        super().__init__(directory, name)
        self._dimension = dimension
        self._left = rows
        self._room = 0

    def write(self, vectors: npt.NDArray[np.float16]) -> None:
        """Append vectors, each on its own row."""
        while len(vectors):
            if self._room == 0:
                self._end()
                self._start()
            assert self._file is not None, "use `with`"
            part, vectors = vectors[: self._room], vectors[self._room :]
            self._file.write(part.tobytes())
            self._room -= len(part)

    def _start(self) -> None:
        most = (MAX_FILE_BYTES - self._HEADER) // (2 * self._dimension)
        self._room = min(most, self._left)
        self._left -= self._room
        np.lib.format.write_array_header_1_0(
            self._open_next(),
            {"descr": "<f2", "fortran_order": False, "shape": (self._room, self._dimension)},
        )


class TarFiles(_NumberedFiles):
    """Pictures in, plain tars out; see `laion_protocol.picture_tar`."""

    MOST: ClassVar[int] = MAX_FILES - 8  # the rows beside them are a few files

    def write(self, sample_id: int, picture: bytes) -> None:
        """Append one picture."""
        assert self._file is not None, "use `with`"
        member = packed(sample_id, picture)
        if self._file.tell() + len(member) + len(END) > MAX_FILE_BYTES:
            self._end()
            self._start()
        self._file.write(member)

    def _start(self) -> None:
        self._open_next()

    def _end(self) -> None:
        if self._file is not None:
            self._file.write(END)
        super()._end()
