"""What dies in the chaos test: Redis, trackers, volunteers; and the lines between them."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[3]


@dataclass
class Part:
    """A process that is killed with -9 at any moment and started again."""

    name: str
    command: Sequence[str]
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    kills: int = 0

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT,
                env=os.environ | self.environment,
            )  # fmt: skip

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.kills += 1

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    @property
    def has_ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None


class Line:
    """A TCP line that can be cut: what was open breaks in mid-answer, new calls are refused."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._open: set[asyncio.StreamWriter] = set()
        self._calls: set[asyncio.Task[None]] = set()
        self._is_cut = False
        self.cuts = 0

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def cut(self, seconds: float) -> None:
        self._is_cut, self.cuts = True, self.cuts + 1
        for writer in list(self._open):
            writer.transport.abort()
        await asyncio.sleep(seconds)
        self._is_cut = False

    async def close(self) -> None:
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()
        if self._calls:
            await asyncio.wait(self._calls, timeout=5)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        call = asyncio.current_task()
        assert call is not None
        self._calls.add(call)
        try:
            if self._is_cut:
                return
            with contextlib.suppress(OSError):
                there, back = await asyncio.open_connection("127.0.0.1", self._target)
                self._open.add(back)
                try:
                    await asyncio.gather(_pump(reader, back), _pump(there, writer))
                finally:
                    self._open.discard(back)
                    back.transport.abort()
        finally:
            self._open.discard(writer)
            self._calls.discard(call)
            writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


def redis_command(server: str, port: int, directory: Path, appendfsync: str) -> list[str]:
    return [
        server, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory), "--save", "",
        "--appendonly", "yes", "--appendfsync", appendfsync,
    ]  # fmt: skip


def tracker_command(data: Path, port: int, redis_port: int) -> list[str]:
    return [
        sys.executable, "-m", "tracker", "serve", "--data", str(data), "--port", str(port),
        "--redis-url", f"redis://127.0.0.1:{redis_port}/0", "--checkers", "0",
        "--lease-seconds", "3", "--idle-seconds", "0.2", "--max-backlog", "1000000",
        "--min-free-bytes", "0",
    ]  # fmt: skip


def fleet_command(urls: Sequence[str], tokens: Path, diary: Path, clock_offset: float) -> list[str]:
    """Volunteers by the dozen in one process (`fleet.py`)."""
    return [
        sys.executable, "-m", "tests.e2e.chaos.fleet", "--tokens", str(tokens),
        "--diary", str(diary), "--clock-offset", str(clock_offset), *urls,
    ]  # fmt: skip


def verifier_command(redis_port: int, diary: Path) -> list[str]:
    """A verifier that believes every shard (`verifier.py`)."""
    return [
        sys.executable, "-m", "tests.e2e.chaos.verifier", f"redis://127.0.0.1:{redis_port}/0",
        str(diary),
    ]  # fmt: skip
