"""Interleaved rounds and medians: this is how every benchmark here measures.

A machine that others share drifts by tens of percent within a minute. So the variants take turns,
round by round, and what is compared is the median of the ratios of neighbouring measurements.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class Figure:
    """What one variant did."""

    per_second: float  #: median over the rounds
    ratio: float  #: median of (this / the first variant), round by round


def compare(
    variants: Mapping[str, Callable[[], int]],
    *,
    rounds: int = 5,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, Figure]:
    """Units per second of each variant; the first one is the baseline.

    Args:
        variants: each does its work once and returns how many units that were.
        rounds: how often each takes its turn, after one turn to warm up.
        clock: CPU seconds of this process, or `time.perf_counter` where others do the work.
    """
    speeds: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, work in variants.items():
            began = clock()
            units = work()
            if number:  # the first turn warms up
                speeds[name].append(units / max(clock() - began, 1e-9))
    base = next(iter(speeds.values()))
    return {
        name: Figure(
            statistics.median(mine),
            statistics.median(a / b for a, b in zip(mine, base, strict=True)),
        )
        for name, mine in speeds.items()
    }


def table(title: str, unit: str, figures: Mapping[str, Figure]) -> str:
    """The figures as lines of text, the baseline first."""
    width = max(map(len, figures))
    lines = [title]
    for name, figure in figures.items():
        speed = f"{figure.per_second:>12,.0f} {unit}/s"
        lines.append(f"  {name:<{width}}  {speed}  x{figure.ratio:.2f}")
    return "\n".join(lines)
