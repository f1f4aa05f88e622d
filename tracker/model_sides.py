"""`ModelSides`: how large the pictures are that a crawl's model looks at."""

import asyncio
import time
from pathlib import Path
from typing import Final

from laion_protocol import ModelSpec, NotFound, Unavailable
from laion_protocol.model_input import input_side

from .model_files import ModelFiles

_MAX_CONFIG: Final = 64 * 2**10  # of a model, JSON
#: Seconds for which nobody looks again for a config that was not there.
_LOOK_AGAIN: Final = 5.0
_PATIENCE: Final = 0.5  #: seconds, with a config that does not come


class ModelSides:
    """Told by name, or by the config file, which is read once."""

    def __init__(self, files: ModelFiles) -> None:
        self._files = files
        self._known: dict[str, int] = {}  # by the config's hash
        self._missed: dict[str, float] = {}
        self._late: dict[str, float] = {}
        self._looking: dict[str, asyncio.Task[int | None]] = {}

    async def is_known(self, spec: ModelSpec) -> bool:
        """Whether the side can be told now. Nobody waits long for a config that is on its way here,
        or whose store is away: who asks for a job holds up all others who do."""
        key = spec.config_sha256
        if key is None or key in self._known:
            return await self.of(spec) is not None
        if time.monotonic() - self._late.get(key, -_LOOK_AGAIN) < _LOOK_AGAIN:
            return False
        if key not in self._looking:
            self._looking[key] = asyncio.create_task(self.of(spec))
        task = self._looking[key]
        await asyncio.wait({task}, timeout=_PATIENCE)
        if not task.done():
            self._late[key] = time.monotonic()
            return False
        self._looking.pop(key, None)
        try:
            return task.result() is not None
        except Unavailable:
            self._late[key] = time.monotonic()
            return False

    async def of(self, spec: ModelSpec) -> int | None:
        """The side of the square, pixels; None if it cannot be told: then nobody can check, and
        most workers cannot make, an intermediate for this model.

        Raises:
            Unavailable: its config does not come from the store at the moment.
        """
        sha256 = spec.config_sha256
        if sha256 is None:
            return input_side(spec)
        if sha256 in self._known:
            return self._known[sha256]
        if time.monotonic() - self._missed.get(sha256, -_LOOK_AGAIN) < _LOOK_AGAIN:
            return None
        try:
            path = await self._files.locate(sha256)
        except NotFound:
            side = None
        else:
            side = input_side(spec, await asyncio.to_thread(_head_of, path))
        if side is None:
            self._missed[sha256] = time.monotonic()
        else:
            self._known[sha256] = side
        return side


def _head_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MAX_CONFIG)
