"""A queue with small crawls, and the things that workers send to it."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from laion_protocol import (
    Counts,
    DropReason,
    FileEntry,
    Manifest,
    Recipe,
    SourceDigest,
    SourceKind,
    Stage,
)
from laion_protocol.messages import NewCrawl
from tracker.queue import JobQueue, RetryPolicy

#: quick to be dead, and never a wait
RETRY = RetryPolicy(
    max_attempts=3, min_accounts=2, max_leases=6, delay=timedelta(0), max_delay=timedelta(0)
)


@pytest.fixture
def queue(redis: Redis) -> JobQueue:
    """Its leases last for the whole test."""
    return JobQueue(redis, lease_duration=timedelta(hours=1), max_held=100, retry=RETRY)


@pytest.fixture
def hasty(redis: Redis) -> JobQueue:
    """The same jobs; the leases that it gives are over after a millisecond."""
    return JobQueue(redis, lease_duration=timedelta(milliseconds=1), max_held=100, retry=RETRY)


@pytest.fixture
def new_crawl() -> Callable[..., NewCrawl]:
    def make(files: int = 1, parts: int = 1, **fields) -> NewCrawl:
        fields = {
            "name": "CC-TEST-1",
            "base": "https://example.org/",
            "paths": tuple(f"crawl/{number:05}.warc.gz" for number in range(files)),
            "recipe": Recipe(kind=SourceKind.WARC),
            **fields,
        }
        return NewCrawl(parts=parts, **fields)

    return make


@pytest.fixture
def manifest() -> Callable[..., Manifest]:
    def make(kept: int = 3, dropped: int = 2, stage: Stage = Stage.HYBRID) -> Manifest:
        return Manifest(
            recipe_sha256="0" * 64,
            worker_version="1.0",
            filter_version="1",
            stage=stage,
            model_sha256=None if stage is Stage.FETCH else "1" * 64,
            source=SourceDigest(
                path="crawl/00000.warc.gz",
                part=0,
                parts=1,
                first_byte=0,
                end_byte=1,
                pairs_sha256="2" * 64,
            ),
            counts=Counts(pairs=kept + dropped, kept=kept, drops={DropReason.DNS: dropped}),
            files=(FileEntry(name="shard.parquet", size=10, sha256="3" * 64),),
            seconds=1.5,
        )

    return make
