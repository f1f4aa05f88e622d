"""`Script`: one Lua file, run by its hash.

A line `-- include: name` stands for the text of `lua/_name.lua`, once per script, so that what
several scripts do is written once. The identity's scripts are read in the same way.
"""

import hashlib
import re
import secrets
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

_INCLUDE: Final = re.compile(r"^-- include: (\w+)$", re.MULTILINE)


class Script:
    """A script of a package's `lua/`, by name."""

    def __init__(self, name: str, package: str = __package__) -> None:
        self.source = script_text(name, package)
        self.sha1 = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, redis: Redis, key: str, *args: str | int | float) -> Any:
        """Run on the node of `key`."""
        try:
            return await redis.evalsha(self.sha1, 1, key, *args)
        except NoScriptError:  # Redis forgets scripts when it restarts
            return await redis.eval(self.source, 1, key, *args)


def new_call() -> str:
    """An id for one call of a script that is not safe to repeat: the client sends it again with the
    call when a connection breaks, and the script then answers as before."""
    return secrets.token_hex(8)


def script_text(name: str, package: str = __package__) -> str:
    """A file of `lua/` with its includes."""
    return _expand(files(package) / "lua", name, set())


def _expand(folder: Traversable, name: str, seen: set[str]) -> str:
    text = (folder / f"{name}.lua").read_text(encoding="utf-8")

    def included(match: re.Match[str]) -> str:
        if match[1] in seen:
            return f"-- ({match[1]} is included above)"
        seen.add(match[1])
        return _expand(folder, f"_{match[1]}", seen)

    return _INCLUDE.sub(included, text)
