"""What dies in the chaos test: Redis, trackers, volunteers, verifiers."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]


@dataclass
class Part:
    """A process that is killed with -9 at any moment and started again."""

    name: str
    command: Sequence[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    kills: int = 0
    pauses: int = 0

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT
            )

    def kill(self) -> None:
        self.stop()
        self.kills += 1

    async def pause(self, seconds: float) -> None:
        """As a machine that sleeps: it goes on later, and knows nothing of the time between."""
        assert self.process is not None
        self.pauses += 1
        self.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    @property
    def has_ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None


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
        "--min-free-bytes", "0", "--rate-factor", "0",
    ]  # fmt: skip


def fleet_command(
    urls: Sequence[str], tokens: Path, diary: Path, volunteers: int, clock_offset: float
) -> list[str]:
    """Volunteers by the dozen in one process (`fleet.py`); `urls` are trackers, each of which may
    be asked anything, or one Redis."""
    return [
        sys.executable, "-m", "tests.e2e.chaos.fleet", "--tokens", str(tokens),
        "--diary", str(diary), "--volunteers", str(volunteers),
        "--clock-offset", str(clock_offset), *urls,
    ]  # fmt: skip


def verifier_command(data: Path, redis_port: int, diary: Path) -> list[str]:
    """A verifier that believes every shard that is whole (`verifier.py`)."""
    return [
        sys.executable, "-m", "tests.e2e.chaos.verifier", str(data),
        f"redis://127.0.0.1:{redis_port}/0", str(diary),
    ]  # fmt: skip
