from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.queue.permutation import Permutation
from tracker.queue.scripts import script_text

seeds = st.integers(0, 2**31 - 1)


@given(st.integers(1, 3000), seeds)
@settings(max_examples=60, deadline=None)
def test_every_job_comes_exactly_once(size, seed):
    order = Permutation(size, seed)
    assert sorted(order[position] for position in range(size)) == list(range(size))


@given(st.integers(1, 2**32), seeds, st.data())
@settings(deadline=None)
def test_the_turn_of_a_job_is_known_for_crawls_of_any_size(size, seed, data):
    position = data.draw(st.integers(0, size - 1))
    order = Permutation(size, seed)
    assert 0 <= order[position] < size
    assert order.position(order[position]) == position


SIZES = [1, 2, 3, 4, 5, 15, 16, 17, 255, 1000, 65_536, 65_537, 100_000_000, 2**32]


@pytest.mark.parametrize("size", SIZES)
async def test_lua_and_python_agree(redis, size):
    permute = script_text("_permutation") + (
        "local jobs, size = {}, tonumber(ARGV[1]) "
        "for i = 2, #ARGV, 2 do "
        "  table.insert(jobs, permute(tonumber(ARGV[i]), size, tonumber(ARGV[i + 1]))) "
        "end "
        "return jobs"
    )
    positions = sorted({0, size - 1, size // 2, size // 3, *range(min(size, 20))})
    turns = [(turn, seed) for turn in positions for seed in (0, 1, 65_535, 65_536, 2**31 - 1)]
    numbers = [number for turn in turns for number in turn]
    expected = [Permutation(size, seed)[turn] for turn, seed in turns]
    assert await redis.eval(permute, 0, size, *numbers) == expected


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_neighbours_are_spread(seed):
    """Jobs that follow each other are on the average as far apart as chance would have them."""
    size = 10_000
    order = Permutation(size, seed)
    jobs = [order[position] for position in range(1000)]
    gaps = [abs(a - b) for a, b in pairwise(jobs)]
    assert size / 4 < sum(gaps) / len(gaps) < size / 2  # expected: a third
    assert sum(gap < 10 for gap in gaps) < 20  # expected: 2


def test_another_seed_is_another_order():
    orders = {tuple(Permutation(50, seed)[i] for i in range(50)) for seed in range(200)}
    assert len(orders) == 200
