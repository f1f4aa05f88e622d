"""`python -m tests.e2e.chaos`: runs one after the other until a million lives are lived.

Each run is a crawl of its own in an empty directory, with the next seed; every second one has a
Redis with `everysec`, whose power is cut. It stops at the first run that is not as it must be, and
leaves its directory. `--seed N` goes on where a stopped series was.
"""

import argparse
import asyncio
import itertools
import json
import shutil
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

from .reckoning import Facts
from .story import Plan, Story


def say(text: str) -> None:
    """At once, also into a file."""
    print(text, flush=True)  # noqa: T201


def bench_line(runs: list[Facts], seconds: float) -> str:
    """The sums over all runs, for programs."""
    faults = sum((facts.faults for facts in runs), Counter())
    lives = sum(facts.accepted for facts in runs)
    figures = {
        "lives": lives,
        "lives_over_http": sum(facts.over_http for facts in runs),
        "runs": len(runs),
        "lives_per_s": round(lives / seconds, 1),
        "kills": faults["kills"],
        "redis_kills": faults["redis"],
        "power_cuts": faults["power"],
        "pauses": faults["pauses"],
        "cuts": sum(faults[kind] for kind in ("cut", "stall", "swallow", "tear")),
        "lost": sum(facts.lost for facts in runs),
        "accepted_twice": sum(facts.accepted_twice for facts in runs),
        "books_difference": sum(len(facts.books) + len(facts.miscounted) for facts in runs),
        "answers": sum(facts.answers for facts in runs),
        "answers_broken": sum(len(facts.answers_broken) for facts in runs),
        "answers_lost_with_power": sum(facts.answers_lost for facts in runs),
        "oldest_lost_s": round(max((facts.oldest_lost for facts in runs), default=0.0), 2),
    }
    return f"BENCH {json.dumps(figures)}"


async def one_run(story: Story) -> Facts | None:
    """None if it was stopped by SIGINT or SIGTERM; nothing of it is left running then."""
    task = asyncio.create_task(story.run())
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await asyncio.wait({task})
    return None if task.cancelled() else task.result()


def main() -> int:
    """Print the report; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lives", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no run later")
    parser.add_argument("--run", type=int, default=10_000, help="lives of one run")
    parser.add_argument("--seed", type=int, default=1, help="of the first run")
    parser.add_argument("--volunteers", type=int, default=64, help="in each process")
    parser.add_argument("--at-the-queue", type=int, default=1, help="processes without HTTP")
    parser.add_argument("--faults", type=int, default=0, help="of one run; until it is done")
    parser.add_argument("--rest", type=float, default=2.5, help="seconds between faults")
    parser.add_argument("--directory", type=Path, help="a fast disk's, or tmpfs")
    chosen = parser.parse_args()
    server = shutil.which("redis-server")
    assert server, "the long run needs redis-server on the PATH"
    began, runs = time.monotonic(), []
    lives = 0
    for seed in itertools.count(chosen.seed):
        if lives >= chosen.lives or time.monotonic() - began > chosen.seconds:
            break
        plan = Plan(
            jobs=min(chosen.run, chosen.lives - lives), faults=chosen.faults, seed=seed,
            appendfsync="everysec" if seed % 2 else "always", volunteers=chosen.volunteers,
            accounts=12, at_the_queue=chosen.at_the_queue, until_done=not chosen.faults,
            rest=chosen.rest,
        )  # fmt: skip
        directory = Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-", dir=chosen.directory))
        facts = asyncio.run(one_run(Story(directory, server, plan, say)))
        if facts is None:
            say(f"seed {seed} was stopped")
            break
        runs.append(facts)
        lives += facts.accepted
        say(
            f"seed {seed} ({plan.appendfsync}): {facts.accepted} lives in {facts.seconds:.0f} s, "
            f"{facts.over_http} over HTTP, {facts.late} late, {dict(facts.faults)}, "
            f"{facts.answers_lost} of {facts.answers} answers lost with Redis, "
            f"{facts.orphans} orphans"
        )
        if facts.wrong:
            say("\n".join(["this must not be:", *facts.wrong, f"everything is in {directory}"]))
            break
        shutil.rmtree(directory)
    say(bench_line(runs, time.monotonic() - began))
    return int(any(facts.wrong for facts in runs))


if __name__ == "__main__":
    raise SystemExit(main())
