"""`CrawlVerbs`: crawls come, rest, end and go, each time by a single atomic script."""

from typing import Final

from redis.asyncio import Redis

from laion_protocol import Conflict, CrawlState, Unavailable
from laion_protocol.messages import CrawlAdded, NewCrawl

from . import keys
from .ids import new_secret
from .reader import QueueReader
from .records import RetryPolicy
from .scripts import Script
from .staging import stage

_REMOVED_AT_ONCE: Final = 5_000  #: jobs in one script; they are only deleted


class CrawlVerbs(QueueReader):
    """What is done to whole crawls; `JobQueue` is one, and knows what is done to jobs."""

    def __init__(self, redis: Redis, retry: RetryPolicy) -> None:
        """Use `redis`, and `retry` for crawls that say nothing else."""
        super().__init__(redis)
        self._retry = retry

    async def add(self, new: NewCrawl) -> CrawlAdded:
        """Add a crawl; adding the same again changes nothing and gives the same answer.

        Raises:
            Conflict: the name is taken by a crawl of other files, parts, recipe or given seed.
            InvalidRequest: a path with a control character, or more than 100 M jobs.
            Unavailable: staging the path list took over an hour, or a crawl of this name is being
                removed; send it again.
        """
        retry = self._retry.changed(new.max_attempts, new.min_accounts)
        staged = await stage(self._redis, new)
        # listed before it is visible: a crash in between hides nothing that exists
        await self._redis.sadd(keys.CRAWLS, new.name)
        reply = await _ADD(self._redis, keys.meta(new.name), *staged.script_args(retry))
        if reply[0] == "conflict":
            raise Conflict(f"there is another crawl {new.name!r} already; choose another name")
        if reply[0] == "unstaged":
            raise Unavailable(f"the path list of {new.name!r} came too slowly; add it again")
        if reply[0] == "removing":
            raise Unavailable(f"a crawl {new.name!r} is being removed; add it again in a minute")
        return CrawlAdded(name=new.name, jobs=staged.jobs, recipe_sha256=new.recipe.sha256)

    async def pause(self, name: str) -> None:
        """Hand out no more jobs of this crawl; what is leased may be finished. Safe to repeat.

        Raises:
            NotFound: no such crawl.
            Conflict: the crawl is finished.
        """
        await self._set_state(name, CrawlState.PAUSED)

    async def resume(self, name: str) -> None:
        """Hand out jobs of this crawl again, also of a finished one. Safe to repeat.

        Raises:
            NotFound: no such crawl.
        """
        await self._set_state(name, CrawlState.ACTIVE)

    async def drain(self, name: str) -> CrawlState:
        """As `pause`, but the crawl is finished as soon as nothing is leased or being verified.
        Says whether it is by now. Safe to repeat.

        Raises:
            NotFound: no such crawl.
        """
        return await self._set_state(name, CrawlState.DRAINING)

    async def finish(self, name: str) -> None:
        """Close the crawl: no leases, and open ones are lost at their next heartbeat. A shard that
        comes all the same is taken. Safe to repeat.

        Raises:
            NotFound: no such crawl.
        """
        await self._set_state(name, CrawlState.FINISHED)

    async def remove(self, name: str) -> None:
        """Remove a crawl for which no result was accepted yet; its name is free again.

        Should this be broken off, the crawl is gone already, and doing it again clears the rest.

        Raises:
            NotFound: no such crawl.
            Conflict: it has accepted results, or jobs that are leased or being verified.
        """
        while True:
            reply = await self._run(_REMOVE, name, new_secret(), _REMOVED_AT_ONCE)
            match reply[0]:
                case "removed":
                    return
                case "worked":
                    raise Conflict(f"{reply[1]} results of {name!r} were accepted; finish it")
                case "busy":
                    raise Conflict(
                        f"{reply[1]} jobs of {name!r} are leased or being verified; drain it first"
                    )

    async def _set_state(self, name: str, state: CrawlState) -> CrawlState:
        reply = await self._run(_SET_STATE, name, state)
        if reply[0] == "closed":
            raise Conflict(f"crawl {name!r} is finished; resume it, or leave it")
        return CrawlState(reply[1])


_ADD, _SET_STATE, _REMOVE = Script("add"), Script("set_state"), Script("remove")
