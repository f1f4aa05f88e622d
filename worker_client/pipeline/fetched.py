"""`FetchedWriter`: decoded pictures into an intermediate, for another worker's score stage.

A picture is kept as the model's own input, cut and resized, as lossless WebP: the score stage sees
the very pixels that a hybrid worker would, and keeps the very rows. On 78 photographs and drawings
at 224 pixels that is 31 kB a picture (PNG: 44 kB). JPEG of quality 95 in full colour is 19 kB, but
moves the embeddings of the one trained model that was at hand (64 pixels) by up to 0.0026 in cosine
and its similarities by up to 0.025, and of quality 98 (26 kB) by up to 0.008: rows near the
threshold would come and go.
"""

import io
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from laion_protocol import FileEntry
from laion_protocol.pair_key import sample_id
from laion_protocol.shard_format import FETCHED_COLUMNS, IMAGES_FILE, INTERMEDIATE_FILE, MAX_FILES
from worker_client.disk import writing_to
from worker_client.samples import Decoded

from .rows import RowSpool, fetched_row, schema_of
from .shard import put_all_in_place
from .shard_files import ShardTooLarge, TarFiles

FETCHED_SCHEMA: Final = schema_of(FETCHED_COLUMNS)
#: Method 0 is three times as fast and a fifth larger; those above take longer and save 3 %.
_WEBP: Final[dict[str, Any]] = {"format": "WEBP", "lossless": True, "method": 1, "quality": 25}


class FetchedWriter:
    """Collects pictures, then puts an intermediate into a directory; use it in `with`.

    Nothing appears under its final name before `finish`. Every method raises `DiskFull`,
    `OutputRefused` or, when the pictures do not fit into the files that one lease may have,
    `ShardTooLarge`.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __enter__(self) -> Self:
        with writing_to(self._directory), ExitStack() as exit:
            self._directory.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=self._directory))
            exit.callback(shutil.rmtree, scratch, ignore_errors=True)
            self._rows = exit.enter_context(RowSpool(scratch, FETCHED_SCHEMA))
            self._tars = TarFiles(scratch, IMAGES_FILE)
            self._closing = exit.enter_context(ExitStack())
            self._closing.enter_context(self._tars)
            self._exit = exit.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exit.__exit__(kind, error, trace)

    def add(self, decoded: Decoded) -> None:
        """Take one more picture and its row."""
        key = sample_id(decoded.pair.url, decoded.pair.text)
        with writing_to(self._directory):
            self._rows.add(fetched_row(decoded, key))
            self._tars.write(key, encoded(decoded.pixels))

    def finish(self) -> tuple[FileEntry, ...]:
        """Sort the rows, end the tars, put all in place; what the manifest says of them."""
        with writing_to(self._directory):
            self._closing.close()
            rows, _ = self._rows.write_sorted(INTERMEDIATE_FILE)
            finished = rows + self._tars.paths
            if len(finished) > MAX_FILES:
                raise ShardTooLarge(
                    f"the intermediate has more than {MAX_FILES} files; "
                    "its crawl must be cut into more parts"
                )
            return put_all_in_place(finished, self._directory)


def encoded(pixels: npt.NDArray[np.uint8]) -> bytes:
    """A model's picture, (side, side, 3), as an intermediate has it."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **_WEBP)
    return buffer.getvalue()
