"""`DurableFile`: what of Redis's append-only file is on disk for sure, to imitate a power cut.

A killed server loses nothing that it wrote: the kernel has it. When the power fails, what was
written since the last sync is gone; with `everysec` that is a second's worth.
"""

import asyncio
import itertools
import os
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

SYNCED_EVERY = 1.0  #: seconds, by Redis with `everysec`
#: While a sync takes long, Redis puts off writing for up to so many seconds, and answers already.
WRITTEN_WITHIN = 2.0


@dataclass(frozen=True, slots=True)
class Loss:
    """Answers given in this time may have been lost with Redis."""

    since: float
    ended: float  #: when Redis died
    until: float  #: who was answered may note it down some time later

    def excuses(self, answered_at: float) -> bool:
        return self.since <= answered_at <= self.until


class DurableFile:
    """Notes the file's size many times a second."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        #: with the inode: Redis 6 gives a new file the name of the old one
        self._sizes: deque[tuple[float, int, int]] = deque(maxlen=100)

    async def watch(self) -> None:
        """Until cancelled."""
        while True:
            with suppress(FileNotFoundError):  # it was replaced while we looked
                if (path := self._current()) is not None:
                    found = path.stat()
                    self._sizes.append((time.time(), found.st_ino, found.st_size))
            await asyncio.sleep(0.03)

    def cut_back(self, random: Random) -> float:
        """Take away what may not have been synced, of a server that was just killed; the time
        from which on nothing is sure."""
        now, path = time.time(), self._current()
        if path is None:
            return now
        file = path.stat()
        known = [
            (at, size)
            for at, inode, size in self._sizes
            if inode == file.st_ino and now - at < SYNCED_EVERY
        ]
        if len(known) < 2:  # it was just started, or has just begun a new file
            return now
        (at, before), (_, after) = random.choice([*itertools.pairwise(known)])
        least, most = sorted((before, after))  # a Redis that starts takes half a command off
        # in the middle of a command, mostly; never longer than it is, which would add zeros
        os.truncate(path, min(random.randint(least, most), file.st_size))
        return at

    def _current(self) -> Path | None:
        """Redis 7 keeps several files in a directory; Redis 6 keeps one."""
        found = [*self._directory.glob("appendonlydir/*.incr.aof")]
        found = found or [*self._directory.glob("appendonly.aof")]
        numbered = [(path.stat().st_mtime_ns, path) for path in found]
        return max(numbered)[1] if numbered else None
