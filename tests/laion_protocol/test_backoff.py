from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from laion_protocol.backoff import full_jitter


@given(base=st.floats(0.01, 10), cap=st.floats(10, 1000))
def test_waits_stay_under_a_doubling_ceiling_and_under_the_cap(base, cap):
    for n, wait in enumerate(islice(full_jitter(base, cap), 20)):
        assert 0 <= wait <= min(cap, base * 2**n)


def test_waits_are_spread_and_not_all_alike():
    firsts = {next(full_jitter(1.0)) for _ in range(50)}

    assert len(firsts) > 40
