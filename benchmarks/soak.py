"""20,000 simulated workers on one tracker: mishaps, the highest rate of heartbeats, a storm.

    python -m benchmarks.soak [--workers 20000]

Everything goes over HTTP to `python -m tracker serve`, which shares this machine's cores with its
Redis and with this generator. Time is scaled, rates are not: the workers hold their leases and beat
at the stated requests a second, which at one beat a minute would be a larger fleet.

1. Every worker takes a lease.
2. Life: beats, completions with an upload, crashes, late results, duplicates, in the shares of
   `_LIFE`; no answer may be one that the protocol does not foresee.
3. Rate: heartbeats at rising rates, open loop, until their p99 passes 100 ms.
4. Storm: the tracker is killed, 5,000 workers reconnect within 60 s of its return, each on a new
   connection, asking what they hold and beating; no lease may be lost.
"""

import argparse
import asyncio
import functools
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import uvloop

from laion_protocol.client import TrackerClient

from .http_load import Answer, Connection, open_loop, request
from .queue import crawl_of
from .tracker_process import (
    Seat,
    Served,
    Unexpected,
    bench_line,
    completion,
    expect,
    free_port,
    hand_in,
    heartbeat,
    lease,
    running,
    seats,
    tracker_command,
)

ACCOUNTS: Final = 500
CONNECTIONS: Final = 256
STORM_WORKERS: Final = 5_000
STORM_SECONDS: Final = 60.0
LIMIT_MS: Final = 100.0
#: What a worker does next, and how often (weights): mostly it beats.
_LIFE: Final = {"beat": 90, "complete": 5, "crash": 2, "release": 1, "duplicate": 1, "late": 1}
_RATES: Final = (300, 600, 900, 1200, 1500, 1800, 2100, 2400, 2700, 3000, 3500, 4000)

Step = Callable[[Connection], Awaitable[object]]


@dataclass(slots=True)
class Worker:
    """One simulated worker and what it holds."""

    seat: Seat
    held: dict[str, Any] | None = None

    async def take(self, connection: Connection) -> None:
        """A lease."""
        self.held = await lease(connection, self.seat)

    async def beat(self, connection: Connection) -> Answer:
        """A heartbeat; the caller judges the answer."""
        assert self.held is not None
        return await connection.call(heartbeat(self.seat, self.held["lease_id"]))


class Soak:
    """The phases, over one running tracker."""

    def __init__(
        self, served: Served, workers: list[Worker], said: Counter[str], admin_token: str
    ) -> None:
        self._workers, self._said, self._admin_token = workers, said, admin_token
        self._connections = served.connections(CONNECTIONS)

    async def start(self) -> float:
        """Every worker takes a lease; leases a second."""
        began = time.perf_counter()
        await open_loop(self._connections, [worker.take for worker in self._workers], 10_000)
        return len(self._workers) / (time.perf_counter() - began)

    async def live(self, seconds: float, per_second: float) -> None:
        """Mishaps of all kinds at a steady rate."""
        names, weights = list(_LIFE), list(_LIFE.values())
        steps: list[Step] = []
        busy = random.sample(self._workers, min(len(self._workers), int(seconds * per_second)))
        for worker in busy:  # each at most once, so that no two steps of one worker overlap
            what = random.choices(names, weights)[0]
            steps.append(functools.partial(self._act, worker, what))
        await open_loop(self._connections, steps, per_second)

    async def rate(self, seconds: float) -> tuple[float, float]:
        """The highest rate of heartbeats with a p99 under the limit, and that p99 in ms."""
        best = (0.0, 0.0)
        holders = [worker for worker in self._workers if worker.held is not None]
        for per_second in _RATES:
            count = min(len(holders), int(seconds * per_second))
            steps = [functools.partial(self._held_beat, w) for w in random.sample(holders, count)]
            latencies = await open_loop(self._connections, steps, per_second)
            p99 = latencies.ms(99)
            print(f"  {per_second:>6} beats/s: p50 {latencies.ms(50):.1f} ms, p99 {p99:.1f} ms")  # noqa: T201
            if p99 >= LIMIT_MS:
                break
            best = (per_second, p99)
        return best

    async def storm(self, restarted: Served) -> int:
        """Leases lost when many workers come back at once, each on a connection of its own."""
        holders = [worker for worker in self._workers if worker.held is not None]
        back = random.sample(holders, min(STORM_WORKERS, len(holders)))
        lost = 0

        async def come_back(worker: Worker, _shared: Connection) -> None:
            nonlocal lost
            (connection,) = restarted.connections(1)
            try:
                path = f"/v1/leases?worker={worker.seat.worker}"
                answer = await _patient(connection, request("GET", path, worker.seat.token))
                ids = {held["lease_id"] for held in expect(answer).json()["leases"]}
                assert worker.held is not None
                beat = heartbeat(worker.seat, worker.held["lease_id"])
                answer = await _patient(connection, beat)
                if worker.held["lease_id"] not in ids or answer.status != 200:
                    lost += 1
                    self._said[f"storm: {answer.status}"] += 1
            finally:
                connection.close()

        steps = [functools.partial(come_back, worker) for worker in back]
        latencies = await open_loop(
            restarted.connections(CONNECTIONS), steps, len(back) / STORM_SECONDS
        )
        print(f"  {len(back)} workers came back: p99 {latencies.ms(99):.1f} ms, {lost} leases lost")  # noqa: T201
        return lost

    async def _held_beat(self, worker: Worker, connection: Connection) -> None:
        expect(await worker.beat(connection))

    async def _act(self, worker: Worker, what: str, connection: Connection) -> None:
        self._said[what] += 1
        if worker.held is None:
            await worker.take(connection)
            return
        given = worker.held
        if what == "beat":
            await self._held_beat(worker, connection)
        elif what == "release":
            path = f"/v1/leases/{given['lease_id']}/release"
            body = {"reason": "the volunteer stops"}
            expect(await connection.call(request("POST", path, worker.seat.token, body)))
            worker.held = None
        elif what == "crash":  # it forgets everything, starts again and asks
            path = f"/v1/leases?worker={worker.seat.worker}"
            answer = expect(await connection.call(request("GET", path, worker.seat.token)))
            worker.held = next(iter(answer.json()["leases"]), None)
        elif what == "late":
            await self._late(worker, given, connection)
        else:
            expect(await hand_in(connection, worker.seat, given))
            if what == "duplicate":
                expect(await connection.call(completion(worker.seat, given)))
            worker.held = None

    async def _late(self, worker: Worker, given: dict[str, Any], connection: Connection) -> None:
        """An admin takes the job away, then the result comes all the same: it is taken, unless
        somebody was given the job in between."""
        body = {"jobs": [given["job"]], "reason": "silent"}
        call = request("POST", "/v1/admin/jobs/requeue", self._admin_token, body)
        expect(await connection.call(call))
        worker.held = None
        try:
            answer = await hand_in(connection, worker.seat, given)
        except Unexpected:  # the upload found the job leased again
            self._said["late, refused"] += 1
            return
        self._said["late, taken" if answer.status == 200 else "late, refused"] += 1


async def _patient(connection: Connection, call: bytes) -> Answer:
    """As a real worker: try again while the tracker is away or says `retry_after`."""
    for _ in range(30):
        try:
            answer = await connection.call(call)
        except OSError:
            await asyncio.sleep(random.uniform(0, 2))
            continue
        if answer.status not in (429, 503):
            return answer
        await asyncio.sleep(min(2.0, answer.json().get("retry_after") or 1.0))
    raise Unexpected("the tracker did not come back within 30 tries")


async def soak(count: int) -> dict[str, float | int]:
    """Everything that the last line of the report holds."""
    said: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        data, port = root / "tracker", free_port()
        command = tracker_command(data, port)
        async with running(command, port, root / "log") as served:
            token = (data / "admin-token").read_text().strip()
            async with TrackerClient(served.url, token) as admin:
                await admin.add_crawl(crawl_of(10_000_000))
                workers = [Worker(seat) for seat in await seats(admin, ACCOUNTS, count)]
            phases = Soak(served, workers, said, token)
            leases_per_s = await phases.start()
            print(f"  {count} workers hold leases, {leases_per_s:.0f} leases/s")  # noqa: T201
            await phases.live(30, 500)
            print(f"  life: {dict(said)}")  # noqa: T201
            rate, p99 = await phases.rate(8)
            served.process.send_signal(signal.SIGKILL)
            await asyncio.to_thread(served.process.wait)
        await asyncio.sleep(10)
        async with running(command, port, root / "log") as restarted:
            lost = await phases.storm(restarted)
    return {
        "workers": count,
        "leases_per_s": leases_per_s,
        "heartbeats_per_s": rate,
        "heartbeat_p99_ms": p99,
        "storm_leases_lost": lost,
    }


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=20_000)
    print(bench_line(uvloop.run(soak(parser.parse_args().workers))))  # noqa: T201


if __name__ == "__main__":
    main()
