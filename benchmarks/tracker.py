"""The tracker over HTTP: what a job, a request and a byte of memory cost.

    python -m benchmarks.tracker [--seconds 4] [--rounds 5]

One server process, its own Redis, and the load generator share this machine's cores. A cycle is
lease, upload of one small file, and complete. The variants take turns, round by round; ratios are
medians of neighbouring measurements.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import uvloop
from redis.asyncio import Redis

from laion_protocol.client import TrackerClient
from tracker.private_redis import PrivateRedis
from tracker.queue import HeldLease, JobQueue, keys

from . import tracker_process
from .http_load import Connection, Latencies, closed_loop, request
from .queue import crawl_of, lives, manifest, sets
from .tracker_process import (
    Seat,
    Served,
    bench_line,
    expect,
    free_port,
    hand_in,
    heartbeat,
    running,
    seats,
    tracker_command,
)

Step = Callable[[Connection], Awaitable[object]]

SIZES: Final = {"10k": 10_000, "1m": 1_000_000, "10m": 10_000_000}
CONNECTIONS: Final = 32
MEMORY_JOBS: Final = 20_000
CALLS_PER_LIFE: Final = 5  #: of `benchmarks.queue.life`


async def measure(seconds: float, rounds: int) -> dict[str, float | int]:
    """Everything that the last line of the report holds."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        figures = await _over_http(root, seconds, rounds)
        figures |= await _in_redis(root / "redis", rounds)
    return figures


async def _over_http(root: Path, seconds: float, rounds: int) -> dict[str, float | int]:
    port, empty_port = free_port(), free_port()
    data = root / "tracker"
    empty = [sys.executable, "-m", "uvicorn", "benchmarks.empty_app:app", "--no-access-log"]
    empty += ["--log-level", "warning", "--port", str(empty_port)]
    async with (
        running(tracker_command(data, port, "--max-held", "64"), port, root / "log") as ours,
        running(empty, empty_port, root / "empty.log") as nothing,
        TrackerClient(ours.url, (data / "admin-token").read_text().strip()) as admin,
    ):
        added = {}
        for name, jobs in SIZES.items():
            began = time.perf_counter()
            await admin.add_crawl(crawl_of(jobs))
            added[name] = time.perf_counter() - began
        # as many accounts as connections: nobody's own limits are what is measured
        workers = await seats(admin, CONNECTIONS, CONNECTIONS)
        bench = _Bench(ours, nothing, admin, workers, seconds)
        for _ in range(rounds):
            await bench.round()
    return bench.figures() | {"add_10m_s": added["10m"]}


class _Bench:
    """Variant by variant, what each round measured."""

    def __init__(
        self, ours: Served, nothing: Served, admin: TrackerClient, workers: list[Seat], each: float
    ) -> None:
        self._admin, self._each = admin, each
        self._connections = ours.connections(CONNECTIONS)
        self._empty = nothing.connections(CONNECTIONS)
        self._seats = dict(zip(self._connections, workers, strict=True))
        self._speeds: defaultdict[str, list[float]] = defaultdict(list)
        self._latencies = Latencies()

    async def round(self) -> None:
        """Each variant once."""
        await self._measure("empty", self._empty, self._nothing)
        for name, jobs in SIZES.items():
            for other in SIZES.values():
                pause = self._admin.resume_crawl if other == jobs else self._admin.pause_crawl
                await pause(f"c{other}")
            await asyncio.sleep(1.2)  # every process has noticed
            await self._measure(f"cycles_{name}", self._connections, self._cycle)
            await self._measure(f"releases_{name}", self._connections, self._release)
        leases = {
            connection: await tracker_process.lease(connection, self._seats[connection])
            for connection in self._connections
        }
        beats = {
            connection: heartbeat(self._seats[connection], given["lease_id"])
            for connection, given in leases.items()
        }

        async def beat(connection: Connection) -> None:
            expect(await connection.call(beats[connection]))

        self._latencies.values += (
            await self._measure("beats", self._connections, beat)
        ).values  # fmt: skip

    def figures(self) -> dict[str, float | int]:
        """Medians, and medians of the ratios within a round."""
        speed = {name: statistics.median(values) for name, values in self._speeds.items()}
        costs = [
            self._ratio(f"{kind}_10k", f"{kind}_10m") for kind in ("cycles", "releases")
        ]  # fmt: skip
        return {
            **{f"cycles_per_s_{name}": speed[f"cycles_{name}"] for name in SIZES},
            **{f"leases_per_s_{name}": speed[f"releases_{name}"] for name in SIZES},
            "cost_ratio_10m_10k": max(costs),
            "beats_per_s": speed["beats"],
            "empty_route_per_s": speed["empty"],
            "route_ratio": self._ratio("beats", "empty"),
            "p50_ms": self._latencies.ms(50),
            "p99_ms": self._latencies.ms(99),
        }

    def _ratio(self, name: str, base: str) -> float:
        pairs = zip(self._speeds[name], self._speeds[base], strict=True)
        return statistics.median(mine / other for mine, other in pairs)

    async def _measure(self, name: str, connections: list[Connection], step: Step) -> Latencies:
        speed, latencies = await closed_loop(connections, step, self._each)
        self._speeds[name].append(speed)
        return latencies

    async def _nothing(self, connection: Connection) -> None:
        expect(await connection.call(request("POST", "/", body={})))

    async def _cycle(self, connection: Connection) -> None:
        seat = self._seats[connection]
        given = await tracker_process.lease(connection, seat)
        expect(await hand_in(connection, seat, given))

    async def _release(self, connection: Connection) -> None:
        seat = self._seats[connection]
        given = await tracker_process.lease(connection, seat)
        path = f"/v1/leases/{given['lease_id']}/release"
        expect(await connection.call(request("POST", path, seat.token, {"reason": "benchmark"})))


async def _in_redis(directory: Path, rounds: int) -> dict[str, float | int]:
    """Memory per job, and scripts a second beside bare `SET`s, with no HTTP between."""
    async with (
        PrivateRedis(directory) as server,
        Redis.from_url(server.url, decode_responses=True) as redis,
    ):
        queue = JobQueue(redis, max_held=10**9, max_held_account=10**9)
        empty = await _used(redis)
        await queue.add(crawl_of(10_000_000))
        pending = await _used(redis)
        leases = []
        for number in range(MEMORY_JOBS):
            given = await queue.lease("c10000000", "account", f"worker-{number}")
            assert isinstance(given, HeldLease)
            leases.append(given.lease_id)
        leased = await _used(redis)
        for lease_id in leases:
            await queue.complete(lease_id, "account", manifest())
            await queue.accept(lease_id, manifest().counts, 1)
        finished = await _used(redis)
        whole, bare = [], []
        for _ in range(rounds):
            bare.append(await sets(redis, 4000))
            whole.append(await lives(queue, "c10000000", 800))
    ratio = statistics.median(
        CALLS_PER_LIFE * mine / base for mine, base in zip(whole, bare, strict=True)
    )
    return {
        "bytes_pending": (pending - empty) / 10_000_000,
        "bytes_leased": (leased - pending) / MEMORY_JOBS,
        "bytes_finished": (finished - pending) / MEMORY_JOBS,
        "scripts_per_s": CALLS_PER_LIFE * statistics.median(whole),
        "sets_per_s": statistics.median(bare),
        "script_ratio": ratio,
    }


async def _used(redis: Redis) -> int:
    """Bytes, without the feed of events: that is bounded, and no job's."""
    await asyncio.sleep(0.5)  # lazily freed memory is gone
    feed = await redis.memory_usage(keys.events("c10000000"), samples=0) or 0
    return int((await redis.info("memory"))["used_memory"]) - feed


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    figures = uvloop.run(measure(options.seconds, options.rounds))
    for name, value in figures.items():
        print(f"  {name:<22} {value:>14,.2f}")  # noqa: T201
    print(bench_line(figures))  # noqa: T201


if __name__ == "__main__":
    main()
