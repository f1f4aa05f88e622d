"""`Project`: the real parts, started as their users would start them, by their command lines."""

import asyncio
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from demo import clip
from laion_protocol import SourceKind

from .children import Child, ChildFailed
from .resources import MAX_IMAGE_BYTES, MIN_IMAGE_BYTES, MIN_SIDE

START_SECONDS = 60.0
COMMAND_SECONDS = 60.0
_TOKEN = re.compile(r"\blw_[0-9a-f]{12}_[0-9a-f]{64}\b")


@dataclass(frozen=True, slots=True)
class Volunteer:
    """An account and its one worker."""

    account: str
    worker: Child


class Project:
    """Tracker and workers as child processes, which end with `__aexit__`.

    Args:
        directory: empty; everything is written below it.
        lease_seconds: short, so that a killed worker's job is soon another's.
    """

    def __init__(self, directory: Path, *, lease_seconds: int) -> None:
        self._directory = directory
        self._lease_seconds = lease_seconds
        self.children: list[Child] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # all at once: each may take seconds to let go of what it has loaded
        await asyncio.gather(*(child.stop() for child in self.children))

    @property
    def data(self) -> Path:
        """The tracker's data directory."""
        return self._directory / "tracker"

    @property
    def shards(self) -> Path:
        """Where the tracker keeps shards that it has checked, or is about to."""
        return self.data / "shards"

    @property
    def admin_token(self) -> str:
        """The operator's token, which the tracker wrote at its first start."""
        return (self.data / "admin-token").read_text().strip()

    async def start_tracker(self) -> None:
        """Start it on a free port, with a Redis of its own, and wait until it serves.

        Raises:
            ChildFailed: it does not.
        """
        arguments = ("--host", "127.0.0.1", "--port", "0", "--data", str(self.data))
        lease = ("--lease-seconds", str(self._lease_seconds), "--idle-seconds", "1")
        tracker = await self._child("tracker", _python("tracker", "serve", *arguments, *lease))
        address = self.data / "tracker.json"
        try:
            async with asyncio.timeout(START_SECONDS):
                while not address.exists():
                    tracker.check()
                    await asyncio.sleep(0.1)
        except TimeoutError as error:
            raise ChildFailed(f"the tracker did not start in {START_SECONDS:g} s") from error
        self.url = json.loads(address.read_text())["url"]

    async def add_volunteer(self, name: str, *, web: str, stages: str) -> Volunteer:
        """Make an account, and start a worker for it that may reach `web` (host:port) as well.

        `stages` is what the worker does of a job.
        """
        said = await self._tracker_command("account", "add", name)
        token = _TOKEN.search(said)
        if token is None:
            raise ChildFailed("`python -m tracker account add` did not show a token")
        home = self._directory / name
        home.mkdir()
        token_file = home / "token"
        token_file.touch(mode=0o600)
        token_file.write_text(token[0])
        command = _python(
            "worker_client", "run", "--tracker", self.url, "--token-file", str(token_file),
            "--worker", f"{name}s-pc", "--state-dir", str(home / "state"), "--decoders", "1",
            "--config", str(home / "no-config.toml"), "--allow-private", web,
            "--stages", stages,
        )  # fmt: skip
        return Volunteer(name, await self._child(f"worker of {name}", command, log=name))

    async def add_crawl(
        self, name: str, kind: SourceKind, base: str, paths: Sequence[str], *, parts: int
    ) -> None:
        """Add a crawl over archives below the URL `base`.

        The bounds on pictures are the web's own. The safety prompts are left out: the demo's model
        knows coloured shapes, and no word of theirs.
        """
        paths_file = self._directory / f"{name}.paths"
        paths_file.write_text("".join(f"{path}\n" for path in paths))
        await self._tracker_command(
            "crawl", "add", name, "--kind", kind.value, "--parts", str(parts),
            "--base", base, "--paths", str(paths_file), "--no-safety",
            "--architecture", "demo",
            "--model-config", str(clip.CONFIG), "--model-weights", str(clip.WEIGHTS),
            "--min-similarity", str(clip.THRESHOLD), "--min-side", str(MIN_SIDE),
            "--min-image-bytes", str(MIN_IMAGE_BYTES), "--max-image-bytes", str(MAX_IMAGE_BYTES),
        )  # fmt: skip

    def check(self) -> None:
        """Raises `ChildFailed` when a part has ended by itself."""
        for child in self.children:
            child.check()

    async def _child(self, name: str, command: Sequence[str], *, log: str = "") -> Child:
        child = Child(name, command, self._directory / f"{log or name}.log")
        self.children.append(child)
        await child.start()
        return child

    async def _tracker_command(self, *arguments: str) -> str:
        """What `python -m tracker …` says, to the operator who runs it beside the tracker."""
        command = _python("tracker", *arguments, "--data", str(self.data))
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                said, _ = await process.communicate()
        except TimeoutError:
            raise ChildFailed(f"`tracker {' '.join(arguments)}` does not end") from None
        finally:
            if process.returncode is None:  # Ctrl-C, or the time is over
                process.kill()
                await process.wait()
        if process.returncode:
            message = said.decode("utf-8", "replace").strip()
            raise ChildFailed(f"`tracker {' '.join(arguments)}` said: {message}")
        return said.decode("utf-8", "replace")


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)
