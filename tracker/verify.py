"""`ShardChecker`: check a shard in a process of its own, which may break without harm."""

import asyncio
import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from laion_protocol import Manifest, Recipe, Stage
from laion_protocol.shard_format import (
    EMBEDDINGS_FILE,
    IMAGES_FILE,
    INTERMEDIATE_FILE,
    MAX_FILES,
    SHARD_FILE,
)

#: The checker says this once its libraries are loaded and its limits are set.
READY: Final = b"ready\n"
#: A verdict with the keys of four million rows, in base64.
_MAX_ANSWER: Final = 48 * 2**20
_TRIES: Final = 2
_ROOT: Final = str(Path(__file__).resolve().parent.parent)

_Packed = bytes  # a field of `Verdict` has the name of the type


class Verdict(BaseModel):
    """What the check found. `reason` is one sentence, empty when the shard is accepted."""

    model_config = ConfigDict(frozen=True, ser_json_bytes="base64", val_json_bytes="base64")

    accepted: bool
    reason: str = ""
    rows: int = 0
    bytes: int = 0
    keys: _Packed = Field(default=b"", repr=False)  #: `pair_key` of each row, packed, for dedupe


class Begun(BaseModel):
    """What a score stage went on from."""

    model_config = ConfigDict(frozen=True)

    manifest: Manifest  #: of the accepted intermediate
    directory: Path | None  #: where its rows are; None when they are there no more


class CheckRequest(BaseModel):
    """What the checking process reads from standard input."""

    model_config = ConfigDict(frozen=True)

    manifest: Manifest
    recipe: Recipe
    side: int | None = None
    begun: Begun | None = None


class CheckerBroken(Exception):
    """The checking process cannot even start here; no shard is to blame."""


def series_of(recipe: Recipe, stage: Stage = Stage.HYBRID) -> tuple[str, ...]:
    """The first file of each series that a lease at this stage hands in; the next of
    `shard.parquet` would be `shard-1.parquet`."""
    if stage is Stage.FETCH:
        return (INTERMEDIATE_FILE, IMAGES_FILE)
    return (SHARD_FILE, EMBEDDINGS_FILE) if recipe.embeddings else (SHARD_FILE,)


def numbered(first: str, number: int) -> str:
    """The name of file `number` (from 0) of a series."""
    stem, _, suffix = first.rpartition(".")
    return f"{stem}-{number}.{suffix}" if number else first


def is_shard_file(name: str, recipe: Recipe, stage: Stage = Stage.HYBRID) -> bool:
    """Whether a lease at this stage may hand in a file of this name."""
    return any(
        name == numbered(first, number)
        for first in series_of(recipe, stage)
        for number in range(MAX_FILES)
    )


class ShardChecker:
    """Runs `tracker.shard_check` confined: bounded memory and CPU time, no files to write, none
    of the tracker's environment.

    Args:
        seconds: wall clock for one check; 70,000 rows take about one second.
    """

    def __init__(self, *, seconds: float = 240.0) -> None:
        self._seconds = seconds

    async def check(
        self,
        directory: Path,
        manifest: Manifest,
        recipe: Recipe,
        *,
        side: int | None = None,
        begun: Begun | None = None,
    ) -> Verdict:
        """The verdict on the shard, or the intermediate, in `directory`.

        An intermediate is held to `side`, that of the model's picture in pixels; the shard of a
        score stage to what `begun` tells.

        A check that crashes or takes too long is run once more, since a rejection costs a
        volunteer an hour and may be this machine's fault; then the shard is rejected.

        Raises:
            CheckerBroken: the process does not start.
        """
        asked = CheckRequest(manifest=manifest, recipe=recipe, side=side, begun=begun)
        request = asked.model_dump_json().encode()
        reason = ""
        for _ in range(_TRIES):
            process = await _start(directory)
            try:
                async with asyncio.timeout(self._seconds):
                    answer = await _ask(process, request)
            except TimeoutError:
                reason = f"the check of the shard took longer than {self._seconds:g} s"
                continue
            finally:
                await _end(process)
            verdict = _parse(answer)
            if verdict is not None:
                return verdict
            reason = "the check of the shard broke off: its files ask for too much memory or time"
        return Verdict(accepted=False, reason=reason)


async def _start(directory: Path) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-s", "-m", "tracker.shard_check", str(directory),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            # Nothing of ours but the way to the code: the environment may hold Redis's password.
            env={
                "PATH": os.defpath,
                "PYTHONPATH": _ROOT,
                "ARROW_DEFAULT_MEMORY_POOL": "system",  # the others reserve address space
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
            },
        )  # fmt: skip
    except OSError as error:
        raise CheckerBroken(f"a check cannot be started: {error}") from error


async def _ask(process: asyncio.subprocess.Process, request: bytes) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    if await process.stdout.readline() != READY:
        raise CheckerBroken("`python -m tracker.shard_check` does not run on this machine")
    try:
        process.stdin.write(request)
        await process.stdin.drain()
        process.stdin.close()
    except ConnectionError:
        return b""  # it died; the caller sees no verdict
    answer = bytearray()
    while len(answer) <= _MAX_ANSWER and (piece := await process.stdout.read(_MAX_ANSWER)):
        answer += piece
    return bytes(answer)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):  # it ended by itself just now
            process.kill()
        await process.wait()


def _parse(answer: bytes) -> Verdict | None:
    try:
        return Verdict.model_validate_json(answer)
    except ValueError:
        return None
