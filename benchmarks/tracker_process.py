"""A tracker of its own for a benchmark, and the calls of simulated workers, as bytes."""

import asyncio
import hashlib
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from laion_protocol.client import TrackerClient
from laion_protocol.messages import NewAccount

from .http_load import Answer, Connection, request
from .queue import RECIPE

FILE: Final = b"the shard of a simulated worker"
_FILE_SHA256: Final = hashlib.sha256(FILE).hexdigest()
_MANIFEST: Final[dict[str, Any]] = {
    "recipe_sha256": RECIPE.sha256,
    "worker_version": "1.0",
    "filter_version": "1",
    "model_sha256": "0" * 64,
    "counts": {"pairs": 10, "kept": 10},
    "files": [{"name": "shard.parquet", "size": len(FILE), "sha256": _FILE_SHA256}],
    "seconds": 1,
}
#: What a benchmark needs beyond the defaults: nobody checks shards, nothing stops because of that.
OPTIONS: Final = (
    "--checkers", "0", "--max-backlog", "1000000", "--min-free-bytes", "0", "--rate-factor", "0",
)  # fmt: skip


class Unexpected(RuntimeError):
    """The tracker answered what a benchmark cannot go on with."""


@dataclass(frozen=True, slots=True)
class Seat:
    """One simulated worker's name and its account's token."""

    worker: str
    token: str


@dataclass(frozen=True, slots=True)
class Served:
    """A server process that listens."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def connections(self, count: int) -> list[Connection]:
        """So many connections to it, opened at first use."""
        return [Connection("127.0.0.1", self.port) for _ in range(count)]


@asynccontextmanager
async def running(command: list[str], port: int, log: Path) -> AsyncIterator[Served]:
    """The command, from the moment that it listens on `port` until it was told to end."""
    process = await asyncio.to_thread(_launch, command, log)
    try:
        await _listens(process, port, log)
        yield Served(process, port)
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


def tracker_command(data: Path, port: int, *options: str) -> list[str]:
    """`python -m tracker serve` on that directory and port."""
    serve = [sys.executable, "-m", "tracker", "serve", "--data", str(data), "--port", str(port)]
    return [*serve, *OPTIONS, *options]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def seats(admin: TrackerClient, accounts: int, workers: int) -> list[Seat]:
    """`workers` simulated workers, spread over `accounts` new accounts."""
    tokens = [
        (await admin.add_account(NewAccount(name=f"account-{n}"))).token for n in range(accounts)
    ]
    return [Seat(f"worker-{n}", tokens[n % accounts]) for n in range(workers)]


async def lease(connection: Connection, seat: Seat) -> dict[str, Any]:
    """A lease.

    Raises:
        Unexpected: none was given.
    """
    body = {"worker": seat.worker, "version": "1.0"}
    answer = await connection.call(request("POST", "/v1/leases", seat.token, body))
    given: dict[str, Any] | None = expect(answer).json().get("lease")
    if given is None:
        raise Unexpected(answer.body.decode())
    return given


def heartbeat(seat: Seat, lease_id: str) -> bytes:
    """The request."""
    body = {"progress": {"stage": "download", "pairs": 100}}
    headers = [f"Laion-Worker: {seat.worker}"]  # as every worker sends it
    return request("POST", f"/v1/leases/{lease_id}/heartbeat", seat.token, body, headers)


async def hand_in(connection: Connection, seat: Seat, given: dict[str, Any]) -> Answer:
    """Upload a small file and complete the lease; the answer to the completion."""
    path = f"/v1/leases/{given['lease_id']}"
    headers = [f"X-Content-SHA256: {_FILE_SHA256}"]
    put = request("PUT", f"{path}/files/shard.parquet", seat.token, FILE, headers)
    expect(await connection.call(put), 204)
    return await connection.call(completion(seat, given))


def completion(seat: Seat, given: dict[str, Any]) -> bytes:
    """The request that completes a lease whose file is uploaded."""
    source = {
        "path": given["source"], "part": given["part"], "parts": given["parts"],
        "first_byte": 0, "end_byte": 1, "pairs_sha256": "0" * 64,
    }  # fmt: skip
    body = {"manifest": _MANIFEST | {"source": source}}
    return request("POST", f"/v1/leases/{given['lease_id']}/complete", seat.token, body)


def expect(answer: Answer, status: int = 200) -> Answer:
    """The answer, if it has that status.

    Raises:
        Unexpected: it has another.
    """
    if answer.status != status:
        raise Unexpected(f"{answer.status}: {answer.body.decode(errors='replace')[:500]}")
    return answer


def _launch(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)


async def _listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(600):
        if process.poll() is not None:
            break
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return
    said = await asyncio.to_thread(log.read_text, errors="replace")
    raise Unexpected(f"the server did not start: {said[-2000:]}")


def bench_line(figures: dict[str, float | int]) -> str:
    """The last line of a report, for programs."""
    rounded = {name: round(value, 4) for name, value in figures.items()}
    return f"BENCH {json.dumps(rounded)}"
