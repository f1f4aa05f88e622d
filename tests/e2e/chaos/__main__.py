"""`python -m tests.e2e.chaos`: a run of any length, with its facts printed."""

import argparse
import asyncio
import pprint
import shutil
import tempfile
from pathlib import Path

from .story import Story

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--jobs", type=int, default=1_000_000)
parser.add_argument("--killing", type=float, default=7200, help="seconds")
parser.add_argument("--appendfsync", choices=["always", "everysec"], default="always")
parser.add_argument("--seed", type=int, default=1)
chosen = parser.parse_args()
server = shutil.which("redis-server")
assert server, "the long run needs redis-server on the PATH"
with tempfile.TemporaryDirectory(prefix="lw-chaos-") as directory:
    story = Story(Path(directory), server, chosen.appendfsync, chosen.seed)
    facts = asyncio.run(story.run(chosen.jobs, chosen.killing, chosen.killing * 10))
pprint.pprint(facts)  # noqa: T203
