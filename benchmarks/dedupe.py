"""The pair index: keys a second, beside the same Bloom filter as a bitmap in Redis.

    python -m benchmarks.dedupe [--keys 1000000]

Both get the same keys in questions of 10,000, in the same run. Redis gets `GETBIT` and `SETBIT` in
pipelines, eight for each key, over a unix socket. The last line is `BENCH {json}`.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from redis import Redis

from tracker.dedupe.bloom import BlockedBloom
from tracker.dedupe.pair_index import PairIndex
from tracker.private_redis import PrivateRedis

from .timing import Figure, table
from .tracker_process import bench_line

_QUESTION = 10_000
_OF_A_LEASE = 200_000  # keys, as a part of an archive file has
_REDIS_QUESTIONS = 3  # it takes a second for each
_BITS = 2**24
_HASHES = 8

Keys = npt.NDArray[np.uint64]


def rate(work: Callable[[Keys], object], questions: list[Keys]) -> float:
    """Keys a second."""
    began = time.perf_counter()
    for keys in questions:
        work(keys)
    return sum(map(len, questions)) / (time.perf_counter() - began)


async def redis_rates(directory: Path, questions: list[Keys]) -> tuple[float, float]:
    """Keys a second set, and looked up, in a bitmap."""
    async with PrivateRedis(directory) as server:
        with Redis.from_url(server.url) as client:

            def places(keys: Keys) -> list[int]:
                odd = np.arange(1, 2 * _HASHES, 2, dtype=np.uint64)
                found: list[int] = ((keys[:, None] * odd) % np.uint64(_BITS)).ravel().tolist()
                return found

            def ask(keys: Keys) -> None:
                with client.pipeline(transaction=False) as pipeline:
                    for place in places(keys):
                        pipeline.getbit("bits", place)
                    pipeline.execute()

            def commit(keys: Keys) -> None:
                with client.pipeline(transaction=False) as pipeline:
                    for place in places(keys):
                        pipeline.setbit("bits", place, 1)
                    pipeline.execute()

            return rate(commit, questions), rate(ask, questions)


class Asking:
    """Jobs that ask in turn: each has a lease, which takes so many keys and no more."""

    def __init__(self, index: PairIndex, crawl: str) -> None:
        self._index, self._crawl, self._asked = index, crawl, 0

    def __call__(self, keys: Keys) -> object:
        """Ask for the job whose turn it is."""
        job = f"{self._crawl}/{self._asked // _OF_A_LEASE}"
        self._asked += len(keys)
        return self._index.ask(job, f"lease of {job}", keys, account=job)


async def measure(count: int) -> str:
    """The whole report."""
    random = np.random.default_rng(1)
    keys = random.integers(0, 2**64, count, dtype=np.uint64)
    strangers = random.integers(0, 2**64, 2_000_000, dtype=np.uint64)
    questions = np.split(keys, range(_QUESTION, count, _QUESTION))
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        index = PairIndex(directory / "d", capacity=count, rate=1e-3, slots=2**24, reserve_for=3600)
        speeds = {
            "ask, all new: looked up and reserved": rate(Asking(index, "c"), questions),
            "ask again": rate(Asking(index, "c"), questions),
            "ask, another job has them": rate(Asking(index, "d"), questions),
            "commit, synced to disk": rate(index.commit, questions),
            "ask, all known": rate(Asking(index, "d"), questions),
        }
        began = time.perf_counter()
        freed = index.free(index.holders())
        free_ms = 1000 * (time.perf_counter() - began)
        few = questions[:_REDIS_QUESTIONS]
        setting, baseline = await redis_rates(directory, few)
        speeds = {"Redis bitmap, look up": baseline, "Redis bitmap, set": setting, **speeds}
        bloom = BlockedBloom.create(directory / "b", count, 1e-3)
        bloom.add(keys)
        wrong = float(bloom.contains(strangers).mean())
        bits = bloom.bytes * 8 / count
    figures = {name: Figure(speed, speed / baseline) for name, speed in speeds.items()}
    return "\n".join(
        [
            table("which pairs are new, 10,000 to a question", "keys", figures),
            f"  filter for {count:,} keys at 0.001: {bits:.1f} bits a key, measured {wrong:.5f}",
            f"  {freed:,} reservations of {index.look()[1]:,} slots freed in {free_ms:.1f} ms",
            bench_line(
                {
                    "keys": count,
                    "ask_new_per_s": round(speeds["ask, all new: looked up and reserved"]),
                    "ask_known_per_s": round(speeds["ask, all known"]),
                    "commit_per_s": round(speeds["commit, synced to disk"]),
                    "redis_look_up_per_s": round(baseline),
                    "redis_set_per_s": round(setting),
                    "false_positives": wrong,
                    "bits_per_key": bits,
                    "free_ms": free_ms,
                }
            ),
        ]
    )


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    print(asyncio.run(measure(parser.parse_args().keys)))  # noqa: T201


if __name__ == "__main__":
    main()
