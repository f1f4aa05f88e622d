"""`ModelStore`: model files by their hash, fetched from the tracker once."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

from laion_protocol import ModelSpec
from laion_protocol.client import NotATracker, TrackerClient
from laion_protocol.model_input import input_side

from .disk import put_in_place, writing_to
from .patience import patiently
from .pipeline.model_files import ModelFiles, ModelUnusable, file_sha256
from .progress import Report

#: What comes at once, at most; once so much too much has come, it is no proxy's page.
_PIECE = 2**20
_MOST_CONFIG_BYTES = 64 * 2**10
#: The largest CLIP that open_clip knows has weights of 10 GB.
_MOST_WEIGHTS_BYTES = 16 * 2**30


class ModelStore:
    """Files in a directory, each named by its hash and only put there when it has that hash."""

    def __init__(self, directory: Path, client: TrackerClient, report: Report) -> None:
        self._directory = directory
        self._client = client
        self._report = report

    async def files(self, spec: ModelSpec) -> ModelFiles | None:
        """The files of a model that is named by hashes; None for one that is named by name.

        Waits for a tracker that is away.

        Raises:
            ModelUnusable: what the tracker sends is not what the recipe names.
            NotFound: the tracker does not have it.
            DiskFull, OutputRefused: it cannot be kept.
        """
        if spec.config_sha256 is None or spec.weights_sha256 is None:
            return None
        return ModelFiles(
            config=await self._file(spec.config_sha256, "json", _MOST_CONFIG_BYTES),
            weights=await self._file(spec.weights_sha256, "safetensors", _MOST_WEIGHTS_BYTES),
        )

    async def input_side(self, spec: ModelSpec) -> int | None:
        """Of the square picture that the model takes, pixels; its weights are not fetched.

        None when it cannot be told. Raises as `files` does.
        """
        if spec.config_sha256 is None:
            return input_side(spec)
        path = await self._file(spec.config_sha256, "json", _MOST_CONFIG_BYTES)
        return input_side(spec, await asyncio.to_thread(path.read_bytes))

    async def _file(self, sha256: str, kind: str, most: int) -> Path:
        path = self._directory / f"{sha256}.{kind}"
        if await asyncio.to_thread(_is, path, sha256):
            return path
        self._report.say(f"fetching the model ({kind}) from the tracker")
        draft = self._directory / f".{path.name}.draft"
        with writing_to(self._directory), _draft(draft) as file:
            await patiently(partial(self._fetch, sha256, file, most), self._report)
            file.close()
            if (found := await asyncio.to_thread(file_sha256, draft)) != sha256:
                raise ModelUnusable(
                    f"the tracker sent a model file with the SHA-256 {found} for {sha256}"
                )
            put_in_place(draft, path)
        return path

    async def _fetch(self, sha256: str, file: BinaryIO, most: int) -> None:
        try:
            await self._client.fetch_file(sha256, file, most=most + _PIECE)
        except NotATracker as error:
            if file.tell() > most:  # it is there, and no other try will make it shorter
                raise ModelUnusable(f"the tracker's model file {sha256} is too long") from error
            raise


def _is(path: Path, sha256: str) -> bool:
    return path.is_file() and file_sha256(path) == sha256


@contextmanager
def _draft(path: Path) -> Iterator[BinaryIO]:
    """A new file, gone with the block unless it was renamed."""
    try:
        with path.open("wb") as file:
            yield file
    finally:
        path.unlink(missing_ok=True)
