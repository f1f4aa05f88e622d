"""Exponential back-off with full jitter, capped."""

import random
from collections.abc import Iterator


def full_jitter(base: float = 1.0, cap: float = 60.0) -> Iterator[float]:
    """Seconds to wait before each next try: uniform in [0, min(cap, base * 2**n)].

    Full jitter spreads a reconnect storm most evenly (M. Brooker, "Exponential Backoff And
    Jitter", AWS Architecture Blog, 2015).
    """
    ceiling = base
    while True:
        yield random.uniform(0, ceiling)
        ceiling = min(cap, ceiling * 2)
