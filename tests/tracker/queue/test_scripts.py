import asyncio
import re
from datetime import timedelta
from importlib.resources import files

import pytest

from laion_protocol import CrawlState, FailureClass, JobState, NotFound, Stage
from laion_protocol.messages import JobFilter, Progress
from tracker.books import Books
from tracker.queue import HeldLease, JobRef, keys
from tracker.queue.scripts import Script, script_text
from tracker.queue.selection import Selections

CRAWL = "CC-TEST-1"
NAMES = sorted(
    file.name.removesuffix(".lua") for file in (files("tracker.queue") / "lua").iterdir()
)


@pytest.mark.parametrize("name", NAMES)
def test_includes_are_replaced_by_their_text_once(name):
    text = script_text(name)
    assert "-- include:" not in text
    defined = re.findall(r"^local function (\w+)", text, re.MULTILINE)
    assert len(defined) == len(set(defined))


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("_")])
async def test_every_script_states_its_contract_and_compiles(name, redis):
    text = (files("tracker.queue") / "lua" / f"{name}.lua").read_text()
    for part in ("-- KEYS  1 meta\n", "-- ARGV  ", "-- Returns {"):
        assert part in text
    assert await redis.script_load(script_text(name)) == Script(name).sha1


async def test_scripts_come_back_when_redis_has_forgotten_them(queue, new_crawl, redis):
    await queue.add(new_crawl(files=2))
    await queue.lease(CRAWL, "ada", "w")
    await redis.script_flush()
    assert (await queue.lease(CRAWL, "ada", "w")).attempt == 1


async def test_a_lease_asked_for_again_because_its_answer_was_lost_is_the_same_lease(
    queue, new_crawl, redis
):
    await queue.add(new_crawl(files=3))
    await queue.lease(CRAWL, "ada", "w")
    args = (keys.meta(CRAWL), "ada", "w", "5" * 32, 60_000, 2, 2, "hybrid", 0, 100)
    first, again = [await Script("lease")(redis, *args) for _ in range(2)]
    assert again == first
    assert len(await queue.held("ada", "w")) == 2


async def test_the_keyspace_is_as_it_is_told(queue, hasty, new_crawl, manifest, redis):
    """Every key that a crawl's life leaves has the name and the type that `keys` says."""
    await queue.add(new_crawl(files=5))
    leases = [await queue.lease(CRAWL, "ada", "w") for _ in range(3)]
    await queue.extend(leases[0].lease_id, "ada", Progress())
    await queue.fail(leases[1].lease_id, "ada", FailureClass.JOB, "x")
    for lease in leases[1:]:
        await queue.requeue([lease.job], "x")
    for _ in range(3):
        lease = await queue.lease(CRAWL, "ada", "w")
        await queue.fail(lease.lease_id, "ada", FailureClass.JOB, "x")
    await queue.complete(leases[0].lease_id, "ada", manifest())
    lease = await queue.lease(CRAWL, "dan", "w")
    await queue.complete(lease.lease_id, "dan", manifest())
    await queue.accept(lease.lease_id, manifest().counts, 10)
    fetch = await queue.lease(CRAWL, "eve", "w", frozenset({Stage.FETCH}))
    await queue.complete(fetch.lease_id, "eve", manifest(stage=Stage.FETCH))
    await queue.accept(fetch.lease_id, manifest().counts, 10)
    await queue.lease(CRAWL, "eve", "w")

    told = dict(re.findall(r"^    ([a-z]+)(?::\S+)? +(\w+) ", keys.__doc__, re.MULTILINE))
    found = {}
    for key in await redis.keys("*"):
        if key == keys.CRAWLS:
            continue
        prefix, name = key.split("}:")
        assert prefix == f"crawl:{{{CRAWL}"
        found[name.split(":")[0]] = await redis.type(key)
    assert found.items() <= told.items()
    absent = {"staged", "dead", "removing", "failures", "action", "undone"}
    assert told.keys() - found.keys() <= absent


async def test_nothing_is_left_over_when_every_job_is_accepted(queue, new_crawl, manifest, redis):
    await queue.add(new_crawl(files=3))
    for _ in range(3):
        lease = await queue.lease(CRAWL, "ada", "w")
        await queue.extend(lease.lease_id, "ada", Progress())
        await queue.complete(lease.lease_id, "ada", manifest())
        await queue.claim_verification(CRAWL, timedelta(minutes=1))
        await queue.accept(lease.lease_id, manifest().counts, 10)
    left = {key.split("}:")[-1].split(":")[0] for key in await redis.keys("*")}
    assert left == {
        "crawls", "meta", "paths", "finished", "counts", "credits", "rate", "events",
    }  # fmt: skip


# ── what came twice, because the answer to the first was lost ────────────────────────────────────


@pytest.fixture
def broken_line(redis, monkeypatch):
    """Every script is sent twice, and the second answer is the one that counts."""

    def doubled(send):
        async def twice(*args):
            await send(*args)
            return await send(*args)

        return twice

    for name in ("evalsha", "eval"):
        monkeypatch.setattr(redis, name, doubled(getattr(redis, name)))


async def test_what_an_admin_does_is_answered_alike_when_it_comes_twice(
    queue, new_crawl, broken_line
):
    await queue.add(new_crawl(files=4))
    leases = [await queue.lease(CRAWL, "ada", "w") for _ in range(3)]
    assert len({lease.job for lease in leases}) == 3
    assert await queue.requeue([leases[0].job], "silent") == {leases[0].job: "requeued"}
    assert await queue.cancel("ada", "w", "banned") == 2
    assert await queue.drain(CRAWL) == CrawlState.FINISHED
    await queue.remove(CRAWL)
    with pytest.raises(NotFound):
        await queue.crawl(CRAWL)


async def test_a_claim_that_comes_twice_takes_one_shard(queue, new_crawl, manifest, broken_line):
    await queue.add(new_crawl(files=2))
    for _ in range(2):
        lease = await queue.lease(CRAWL, "ada", "w")
        await queue.complete(lease.lease_id, "ada", manifest())
    claims = [await queue.claim_verification(CRAWL, timedelta(minutes=1)) for _ in range(3)]
    assert len({claim.job for claim in claims[:2]}) == 2
    assert claims[2] is None


async def test_a_correction_of_the_books_that_comes_twice_is_made_once(
    queue, new_crawl, manifest, redis, broken_line
):
    await queue.add(new_crawl())
    lease = await queue.lease(CRAWL, "ada", "w")
    await queue.complete(lease.lease_id, "ada", manifest())
    await queue.accept(lease.lease_id, manifest().counts, 10)
    await redis.hincrby(f"crawl:{{{CRAWL}}}:counts", "kept", 7)
    await Books(redis).check(CRAWL, repair=True)
    assert (await queue.stats(CRAWL, silent_for=timedelta(0))).kept == 3


# ── what an index names, and is not there ────────────────────────────────────────────────────────


@pytest.mark.parametrize("stray", ["99", "another's", "lost", "without attempt"])
async def test_a_stray_entry_of_an_index_stops_nobody(queue, hasty, new_crawl, redis, stray):
    await queue.add(new_crawl(files=6))
    prefix = f"crawl:{{{CRAWL}}}:"
    mine = await hasty.lease(CRAWL, "ada", "w")
    other = await queue.lease(CRAWL, "bob", "w")
    j = str(other.job.index)
    if stray == "99":
        j = stray
        await redis.zadd(prefix + "leases", {j: 0})
        await redis.zadd(prefix + "beats", {j: 0})
    elif stray == "lost":
        await redis.delete(f"{prefix}job:{j}")
    elif stray == "without attempt":
        await redis.hdel(f"{prefix}job:{j}", "a:1")
    for holder in ("held:ada/w", "held:ada"):
        await redis.sadd(prefix + holder, j)

    assert [lease.job for lease in await queue.held("ada", "w")] == [mine.job]
    stale = await queue.stale(CRAWL, timedelta(0), 10)
    assert mine.job in [lease.job for lease in stale.leases]
    search = await Selections(redis, queue).search(JobFilter(state=JobState.LEASED), 10)
    assert mine.job in [row.job for row in search.jobs]
    if stray != "another's":
        verdicts = await queue.requeue([JobRef(CRAWL, int(j))], "x", dry_run=True)
        assert set(verdicts.values()) <= {"unknown", "unchanged"}
    next_one = await queue.lease(CRAWL, "ada", "w")
    assert isinstance(next_one, HeldLease)
    assert await redis.smismember(prefix + "held:ada/w", [j]) == [0]
    assert await redis.smismember(prefix + "held:ada", [j]) == [0]
    for holder in ("held:ada/w", "held:ada"):
        await redis.sadd(prefix + holder, j)
    await asyncio.sleep(0.003)
    await redis.zadd(prefix + "leases", {j: 0}, xx=True)
    await queue.reap(CRAWL)
    assert (await queue.job(mine.job)).state is JobState.PENDING
    assert await redis.zscore(prefix + "leases", j) is None
    for worker in ("w", None):
        await queue.cancel("ada", worker, "banned")
        assert await redis.smembers(prefix + ("held:ada/w" if worker else "held:ada")) == set()


async def test_a_job_of_ones_other_machine_is_not_ones_own(queue, new_crawl, redis):
    await queue.add(new_crawl(files=2))
    other = await queue.lease(CRAWL, "ada", "laptop")
    await redis.sadd(f"crawl:{{{CRAWL}}}:held:ada/w", other.job.index)
    assert await queue.held("ada", "w") == ()
    assert await queue.cancel("ada", "w", "banned") == 0
    assert [lease.job for lease in await queue.held("ada", "laptop")] == [other.job]
    assert await queue.cancel("ada", None, "banned") == 1


async def test_what_is_in_line_and_is_no_shard_keeps_no_verifier_from_the_others(
    queue, new_crawl, manifest, redis
):
    await queue.add(new_crawl(files=2))
    await redis.zadd(f"crawl:{{{CRAWL}}}:verifying", {"1": 0})
    while (lease := await queue.lease(CRAWL, "ada", "w")).job.index != 0:
        pass
    await queue.complete(lease.lease_id, "ada", manifest())
    assert [row.job for row in await queue.verifying(CRAWL, 9)] == [lease.job]
    claim = await queue.claim_verification(CRAWL, timedelta(minutes=1))
    assert claim.job == lease.job
    assert await queue.claim_verification(CRAWL, timedelta(minutes=1)) is None
