"""Is there memory enough: for Redis to grow, to fork, and to be copied for a backup?"""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis, RedisCluster

_HERE: Final = ("localhost", "127.0.0.1", "::1")
#: Redis's own bound is near from this share on.
_NEAR: Final = 0.9
#: Less than this is little, however little Redis holds.
_LEAST: Final = 128 * 2**20
_MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class RedisMemory:
    """What all masters hold and may hold, bytes."""

    used: int
    most: int  #: 0: no bound is set

    @classmethod
    def of(cls, infos: list[dict[str, Any]]) -> "RedisMemory":
        """From `INFO` of each."""
        used, most = (
            [int(info.get(name, 0)) for info in infos] for name in ("used_memory", "maxmemory")
        )
        return cls(sum(used), sum(most) if all(most) else 0)


def shortages(redis: Redis, infos: list[dict[str, Any]], free: int | None) -> list[str]:
    """A sentence for each bound that is near; `free` is what this machine has left."""
    found = []
    for info in infos:
        one = RedisMemory.of([info])
        if one.most and one.used > _NEAR * one.most:
            found.append(
                f"Redis holds {mib(one.used)} of the {mib(one.most)} that its maxmemory allows: at "
                "all of it every change is refused; raise maxmemory"
            )
    used = RedisMemory.of(infos).used
    if free is not None and _is_here(redis) and free < max(used, _LEAST):
        found.append(
            f"this machine has {mib(free)} of memory left and Redis holds {mib(used)}: a backup "
            "needs as much again, and so can a rewrite of the append-only file; add memory"
        )
    return found


def free_memory(root: Path = Path("/")) -> int | None:
    """Bytes that this machine, or the container, can still give; None where it does not tell."""
    found = [room for room in (_machine(root), _container(root)) if room is not None]
    return min(found, default=None)


def mib(count: int) -> str:
    """For people."""
    return f"{count // _MIB} MiB"


def _machine(root: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in (root / "proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _container(root: Path) -> int | None:
    """Of control groups of version 2, which set no bound by the word `max`."""
    group = root / "sys/fs/cgroup"
    with contextlib.suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::/"):
                group /= line[4:]
        most = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        stat = (line.split() for line in (group / "memory.stat").read_text().splitlines())
        cached = sum(int(count) for name, count in stat if name == "inactive_file")
        return max(0, most - used + cached)
    return None


def _is_here(redis: Redis) -> bool:
    if isinstance(redis, RedisCluster):
        return False
    place = redis.connection_pool.connection_kwargs
    return "path" in place or place.get("host") in _HERE
