import re
from datetime import timedelta
from importlib.resources import files

import pytest

from laion_protocol import FailureClass, Stage
from laion_protocol.messages import Progress
from tracker.queue import keys
from tracker.queue.scripts import Script, script_text

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
