"""The job queue: what a job's whole life costs, beside a bare `SET` on the same Redis.

    python -m benchmarks.queue [--jobs 2000]

One life is lease, heartbeat, complete, claim and accept: five scripts.
"""

import argparse
import asyncio
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from redis.asyncio import Redis

from laion_protocol import Counts, FileEntry, Manifest, Recipe, SourceDigest, SourceKind
from laion_protocol.messages import NewCrawl, Progress
from tracker.private_redis import PrivateRedis
from tracker.queue import HeldLease, JobQueue

from .timing import Figure, table

RECIPE = Recipe(kind=SourceKind.WAT)
VISIBILITY = timedelta(minutes=1)
SIZES = (10_000, 1_000_000, 10_000_000)
PARTS = 100


def crawl_of(jobs: int) -> NewCrawl:
    """A crawl of so many jobs, `PARTS` to a file."""
    paths = tuple(f"crawl-data/segment/{n:08d}.warc.wat.gz" for n in range(jobs // PARTS))
    return NewCrawl(
        name=f"c{jobs}", base="https://x.test/", paths=paths, parts=PARTS, recipe=RECIPE
    )


def manifest() -> Manifest:
    """A manifest of the usual size."""
    return Manifest(
        recipe_sha256=RECIPE.sha256,
        worker_version="0",
        filter_version="0",
        model_sha256="0" * 64,
        source=SourceDigest(
            path="p", part=0, parts=1, first_byte=0, end_byte=1, pairs_sha256="0" * 64
        ),
        counts=Counts(pairs=10, kept=10),
        files=(FileEntry(name="shard.parquet", size=1, sha256="0" * 64),),
        seconds=1,
    )


async def life(queue: JobQueue, crawl: str, worker: int) -> None:
    """One job, from pending to accepted."""
    lease = await queue.lease(crawl, "account", f"w{worker}")
    assert isinstance(lease, HeldLease), lease
    await queue.extend(lease.lease_id, "account", Progress())
    await queue.complete(lease.lease_id, "account", manifest())
    submission = await queue.claim_verification(crawl, VISIBILITY)
    assert submission is not None
    await queue.accept(submission.lease_id, Counts(pairs=10, kept=10), 1)


async def lives(queue: JobQueue, crawl: str, count: int, workers: int = 16) -> float:
    """Lives per second, by so many workers at once."""
    left = iter(range(count))

    async def work(worker: int) -> None:
        for _ in left:
            await life(queue, crawl, worker)

    began = time.perf_counter()
    await asyncio.gather(*(work(worker) for worker in range(workers)))
    return count / (time.perf_counter() - began)


async def sets(redis: Redis, count: int, workers: int = 16) -> float:
    """Bare `SET`s per second, by so many callers at once."""
    left = iter(range(count))

    async def work() -> None:
        for number in left:
            await redis.set("benchmark", number)

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(workers)))
    return count / (time.perf_counter() - began)


async def measure(count: int) -> str:
    """The whole report."""
    lines = []
    with tempfile.TemporaryDirectory() as directory:
        async with (
            PrivateRedis(Path(directory)) as server,
            Redis.from_url(server.url, decode_responses=True) as redis,
        ):
            queue = JobQueue(redis)
            speeds: dict[str, list[float]] = {"5 x SET": []}
            for jobs in SIZES:
                began = time.perf_counter()
                await queue.add(crawl_of(jobs))
                seconds = time.perf_counter() - began
                memory = await redis.memory_usage(f"crawl:{{c{jobs}}}:paths") or 0
                lines.append(
                    f"  add {jobs:>10,} jobs: {seconds:.2f} s, {memory / jobs:.3f} bytes a job"
                )
                speeds[f"{jobs:,} jobs"] = []
            for _round in range(5):
                speeds["5 x SET"].append(await sets(redis, 5 * count) / 5)
                for jobs in SIZES:
                    speeds[f"{jobs:,} jobs"].append(await lives(queue, f"c{jobs}", count // 5))
    figures = {
        name: Figure(
            sorted(mine)[len(mine) // 2],
            sorted(a / b for a, b in zip(mine, speeds["5 x SET"], strict=True))[len(mine) // 2],
        )
        for name, mine in speeds.items()
    }
    title = "whole lives of a job: lease, heartbeat, complete, claim, accept"
    return "\n".join([table(title, "lives", figures), *lines])


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000)
    print(asyncio.run(measure(parser.parse_args().jobs)))  # noqa: T201


if __name__ == "__main__":
    main()
