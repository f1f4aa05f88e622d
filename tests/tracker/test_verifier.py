"""The loop around the check: what happens when it is killed, late, or without Redis."""

import asyncio
import hashlib
import json
import os
import time
from dataclasses import replace
from datetime import timedelta

import pytest

from laion_protocol import Counts, DropReason, JobState, Outcome
from laion_protocol.messages import NewCrawl
from tests.tracker.running import RECIPE, until
from tests.tracker.shards import make_shard
from tracker.connection import connect
from tracker.private_redis import PrivateRedis
from tracker.queue import JobQueue
from tracker.storage import LocalStore, shard_prefix
from tracker.verifier import Verifier
from tracker.verify import Verdict


class Checker:
    """Says what it is told to, after `before` was done."""

    def __init__(self, verdict, before=None):
        self.verdict, self.before = verdict, before

    async def check(self, directory, manifest, recipe, **about):
        if self.before:
            await self.before()
        return self.verdict


GOOD = Verdict(accepted=True, rows=5, bytes=99)
BAD = Verdict(accepted=False, reason="row 3: TEXT is too short")


@pytest.fixture
async def handed_in(redis, settings, tmp_path):
    """A queue, a store, and a shard that waits to be checked."""
    queue = JobQueue(redis)
    await queue.add(NewCrawl(name="A", base="/", paths=("a", "b"), recipe=RECIPE))
    lease = await queue.lease("A", "ann", "pc")
    shard = make_shard(tmp_path / "shard", RECIPE)
    store = LocalStore(settings.data)
    for file in shard.files:
        data = (shard.directory / file.name).read_bytes()

        async def body(data=data):
            yield data

        prefix = shard_prefix(lease.lease_id)
        await store.put(prefix, file.name, body(), size=file.size, sha256=file.sha256)
    await queue.complete(lease.lease_id, "ann", shard.manifest)
    return queue, store, lease


def files_of(settings):
    return sorted(
        p.name for p in settings.data.rglob("*") if p.is_file() and not p.name.startswith(".")
    )


async def test_an_accepted_shard_keeps_its_files_and_a_manifest(handed_in, settings):
    queue, store, lease = handed_in
    assert await Verifier(queue, store, Checker(GOOD), settings).check_all() == 1
    assert (await queue.receipt(lease.lease_id, "ann")).state is JobState.ACCEPTED
    assert files_of(settings) == ["manifest.json", "shard.parquet"]
    [manifest] = settings.data.rglob("manifest.json")
    told = json.loads(manifest.read_text())
    assert (told["job"], told["account"], told["attempt"]) == (str(lease.job), "ann", 1)
    assert told["counts"]["kept"] == 5


async def test_only_files_of_the_manifest_stay_in_an_accepted_shard(handed_in, settings):
    queue, store, lease = handed_in

    async def body():
        yield b"not checked"

    sha256 = hashlib.sha256(b"not checked").hexdigest()
    prefix = shard_prefix(lease.lease_id)
    await store.put(prefix, "shard-1.parquet", body(), size=11, sha256=sha256)
    await Verifier(queue, store, Checker(GOOD), settings).check_all()
    assert (await queue.receipt(lease.lease_id, "ann")).outcome is Outcome.OK
    stored = sorted(path.name for path in (settings.data / "shards" / prefix).iterdir())
    assert stored == ["manifest.json", "shard.parquet"]


async def test_what_waits_for_its_check_is_never_swept(handed_in, settings):
    """The tracker was off for a week, and sweeps before it checks."""
    queue, store, lease = handed_in
    other = await queue.lease("A", "bob", "pc")
    waiting, abandoned = (
        settings.data / "uploads" / shard_prefix(one.lease_id) for one in (lease, other)
    )
    abandoned.mkdir(parents=True)
    for path in (waiting, abandoned):
        os.utime(path, (time.time() - 8 * 86400,) * 2)
    await Verifier(queue, store, Checker(GOOD), settings).sweep()
    assert (waiting.is_dir(), abandoned.exists()) == (True, False)


async def test_a_rejected_shard_is_removed(handed_in, settings):
    queue, store, lease = handed_in
    await Verifier(queue, store, Checker(BAD), settings).check_all()
    receipt = await queue.receipt(lease.lease_id, "ann")
    assert (receipt.outcome, BAD.reason in receipt.message) == (Outcome.INVALID, True)
    assert files_of(settings) == []


async def test_a_check_that_is_cut_off_is_done_again_by_another(handed_in, settings):
    queue, store, lease = handed_in

    async def die():
        raise asyncio.CancelledError

    hasty = replace(settings, claim_visibility=timedelta(milliseconds=50))
    with pytest.raises(asyncio.CancelledError):
        await Verifier(queue, store, Checker(GOOD, die), hasty).check_all()
    other = Verifier(queue, store, Checker(GOOD), settings)
    await asyncio.sleep(0.1)
    assert await other.check_all() == 1
    assert (await queue.receipt(lease.lease_id, "ann")).outcome is Outcome.OK
    assert files_of(settings) == ["manifest.json", "shard.parquet"]


async def test_who_rejects_after_another_accepted_removes_nothing(handed_in, settings):
    queue, store, lease = handed_in

    async def another_accepts():
        await store.describe(shard_prefix(lease.lease_id), "{}")
        await queue.accept(lease.lease_id, make_counts(), 99)

    await Verifier(queue, store, Checker(BAD, another_accepts), settings).check_all()
    assert (await queue.receipt(lease.lease_id, "ann")).outcome is Outcome.OK
    assert files_of(settings) == ["manifest.json", "shard.parquet"]


def make_counts():
    return Counts(pairs=7, kept=5, drops={DropReason.TIMEOUT: 2})


async def test_a_shard_whose_job_was_taken_away_meanwhile_is_removed(handed_in, settings):
    queue, store, lease = handed_in

    async def another_rejects():
        await queue.reject(lease.lease_id, "too late")

    await Verifier(queue, store, Checker(GOOD, another_rejects), settings).check_all()
    assert (await queue.job(lease.job)).state is JobState.PENDING
    assert files_of(settings) == []


async def test_without_redis_it_waits_says_so_once_and_goes_on(settings, tmp_path, caplog):
    caplog.set_level("INFO", "tracker.verifier")
    data = tmp_path / "redis"
    quick = replace(settings, reap_every=timedelta(seconds=0.02))
    async with PrivateRedis(data) as private, connect(private.url) as redis:
        queue = JobQueue(redis)
        await queue.add(NewCrawl(name="A", base="/", paths=("a",), recipe=RECIPE))
        verifier = Verifier(queue, LocalStore(settings.data), Checker(GOOD), quick)
        task = asyncio.create_task(verifier.run())
        private._process.kill()
        await private.died()
        await until(lambda: "verifier waits" in caplog.text)
        await asyncio.sleep(0.3)  # time for a few more tries
        async with PrivateRedis(data):
            await until(lambda: "goes on" in caplog.text)
            task.cancel()
            await asyncio.wait({task})
        assert caplog.text.count("verifier waits") == 1


# ── a claim lasts as long as its check ───────────────────────────────────────────────────────────

BRIEF = timedelta(milliseconds=150)


async def test_a_slow_check_keeps_the_shard_from_other_verifiers(handed_in, settings):
    queue, store, lease = handed_in
    brief = replace(settings, claim_visibility=BRIEF)
    checks = []

    async def slow():
        checks.append(1)
        await asyncio.sleep(3 * BRIEF.total_seconds())

    async def others():
        while not checks or (await queue.job(lease.job)).state is JobState.VERIFYING:
            await Verifier(queue, store, Checker(BAD, slow), brief).check_all()
            await asyncio.sleep(0.02)

    other = asyncio.create_task(others())
    await Verifier(queue, store, Checker(BAD, slow), brief).check_all()
    await other
    assert len(checks) == 1


async def test_a_verifier_that_lost_its_claim_judges_nothing_and_stops(handed_in, settings):
    """Its process slept for longer than its claim lasted, and another verifier is at work."""
    queue, store, lease = handed_in
    brief, cut_off = replace(settings, claim_visibility=BRIEF), asyncio.Event()

    async def another_claims():
        await queue._redis.zadd("crawl:{A}:verifying", {str(lease.job.index): 0})
        assert await queue.claim_verification("A", timedelta(hours=1))
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cut_off.set()
            raise

    assert await Verifier(queue, store, Checker(GOOD, another_claims), brief).check_all() == 1
    assert cut_off.is_set()
    assert (await queue.job(lease.job)).state is JobState.VERIFYING
    assert files_of(settings) == ["shard.parquet"]


@pytest.mark.parametrize("verdict", [GOOD, BAD])
async def test_a_verdict_under_a_lost_claim_is_not_taken(handed_in, settings, verdict):
    queue, store, lease = handed_in

    async def another_claims():
        await queue._redis.zadd("crawl:{A}:verifying", {str(lease.job.index): 0})
        assert await queue.claim_verification("A", timedelta(hours=1))

    await Verifier(queue, store, Checker(verdict, another_claims), settings).check_all()
    assert (await queue.job(lease.job)).state is JobState.VERIFYING
    assert "shard.parquet" in files_of(settings)
