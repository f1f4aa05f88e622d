"""Is there memory enough? What Redis, the machine and the container say."""

import pytest

from tracker.memory import RedisMemory, free_memory, shortages
from tracker.redis_check import redis_memory, weaknesses


@pytest.fixture
def machine(tmp_path):
    """A file system as Linux shows it; `write(path, text)` adds a file."""

    def write(path, text):
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return tmp_path

    return write


def test_the_machine_says_what_it_has_left(machine):
    root = machine("proc/meminfo", "MemTotal: 900 kB\nMemAvailable:   300 kB\n")
    assert free_memory(root) == 300 * 1024
    assert free_memory(root / "nowhere") is None
    assert (free_memory() or 0) > 2**20


def test_a_container_has_less_and_its_cache_can_be_taken(machine):
    machine("proc/meminfo", "MemAvailable: 1000000 kB\n")
    machine("proc/self/cgroup", "0::/app\n")
    machine("sys/fs/cgroup/app/memory.current", "7000\n")
    machine("sys/fs/cgroup/app/memory.stat", "anon 1\ninactive_file 500\n")
    root = machine("sys/fs/cgroup/app/memory.max", "9000\n")
    assert free_memory(root) == 2500
    machine("sys/fs/cgroup/app/memory.max", "max\n")
    assert free_memory(root) == 1000000 * 1024


async def test_what_redis_holds_is_warned_of_when_its_bound_is_near(redis):
    used = (await redis_memory(redis)).used
    assert used > 100_000
    assert not [said for said in await weaknesses(redis) if "maxmemory allows" in said]
    await redis.config_set("maxmemory", int(used * 1.05))
    try:
        assert [said for said in await weaknesses(redis) if "maxmemory allows" in said]
        assert (await redis_memory(redis)).most == int(used * 1.05)
    finally:
        await redis.config_set("maxmemory", 0)


async def test_a_machine_that_could_not_hold_a_copy_is_warned_of(redis):
    infos = [{"used_memory": 2**30, "maxmemory": 0}]
    assert shortages(redis, infos, 2**31) == []
    [said] = shortages(redis, infos, 2**29)
    assert "has 512 MiB of memory left and Redis holds 1024 MiB" in said
    assert shortages(redis, [{"used_memory": 2**20, "maxmemory": 0}], 2**26)  # little for anybody


def test_masters_are_added_up_and_one_without_bound_leaves_none():
    one, other = {"used_memory": 3, "maxmemory": 5}, {"used_memory": 4, "maxmemory": 0}
    assert RedisMemory.of([one, one]) == RedisMemory(6, 10)
    assert RedisMemory.of([one, other]) == RedisMemory(7, 0)
