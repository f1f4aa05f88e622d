"""`Cluster`: redis-py's client of a cluster, with what it lacks for us: a bound on what is asked at
once that makes callers wait, and transactions with `WATCH`."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar, cast

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode, ClusterPipeline
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MovedError, ReadOnlyError, RedisClusterException

_T = TypeVar("_T")
#: Longer than for a single server: electing a new master takes some seconds.
_RETRIES: Final = 5
_SCRIPTS: Final = ("EVAL", "EVALSHA")


@contextmanager
def _away() -> Iterator[None]:
    """redis-py's word for a cluster without nodes is no `RedisError`; ours is one of Redis away."""
    try:
        yield
    except RedisClusterException as error:
        raise RedisConnectionError(str(error)) from error


class Cluster(RedisCluster):
    """At most `bound` commands and pipelines run at once; the others wait.

    All keys of a transaction must be in one hash slot, as those of our scripts are. It runs on the
    node that has them.
    """

    def __init__(self, hosts: tuple[tuple[str, int], ...], bound: int, **options: Any) -> None:
        super().__init__(
            startup_nodes=[ClusterNode(host, port) for host, port in hosts],
            max_connections=2 * bound,  # never reached: over it, redis-py fails
            retry=self._patience(),
            **options,
        )
        self._options = options
        self._bound = asyncio.Semaphore(bound)
        self._nodes: dict[tuple[str, int], Redis] = {}

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """As of the parent."""
        with _away():
            async with self._bound:
                return await super().execute_command(*args, **options)

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> ClusterPipeline:
        """As of the parent; a transaction is sent when it is executed, not before."""
        return (_Transaction if transaction else _Pipeline)(self)  # type: ignore[abstract]

    async def transaction(  # type: ignore[override]
        self, func: Callable[[Any], Awaitable[Any]], *watches: str, **options: Any
    ) -> Any:
        """As of a single server's client."""
        return await self.on_node(
            watches[0],
            lambda node: cast(Awaitable[Any], node.transaction(func, *watches)),
        )

    async def on_node(self, key: str, work: Callable[[Redis], Awaitable[_T]]) -> _T:
        """Do `work` with a client of the node that has `key`, also if that changes meanwhile."""
        with _away():
            await self.initialize()
        retry = self._patience()

        async def attempt() -> _T:
            async with self._bound:
                return await work(self._node(key))

        async def look_again(_: Exception) -> None:
            await self.nodes_manager.initialize()

        retry.update_supported_errors((MovedError, ReadOnlyError, RedisConnectionError))
        with _away():
            return cast(_T, await retry.call_with_retry(attempt, look_again))

    async def masters(self) -> list[Redis]:
        """A client of each master; closed when this one is."""
        with _away():
            await self.initialize()
        return [self._client_of(node) for node in self.get_primaries()]

    async def aclose(self) -> None:
        """As of the parent."""
        for node in self._nodes.values():
            await node.aclose()
        await super().aclose()

    def _node(self, key: str) -> Redis:
        node = self.get_node_from_key(key)
        if node is None:
            raise RedisClusterException("no node of the cluster has this key now")
        return self._client_of(node)

    def _client_of(self, node: ClusterNode) -> Redis:
        where = (node.host, int(node.port))
        if where not in self._nodes:
            self._nodes[where] = Redis(host=where[0], port=where[1], **self._options)
        return self._nodes[where]

    @staticmethod
    def _patience() -> Retry:
        return Retry(ExponentialBackoff(cap=1.0, base=0.05), _RETRIES)


class _Pipeline(ClusterPipeline):
    """Commands for any nodes; not atomic."""

    async def execute(self, *args: Any, **options: Any) -> list[Any]:
        with _away():
            async with cast(Cluster, self.cluster_client)._bound:
                return await super().execute(*args, **options)


class _Transaction(ClusterPipeline):
    """Commands for one node, atomic. redis-py's own runs each command in a thread."""

    async def execute(self, raise_on_error: bool = True, *_: Any, **__: Any) -> list[Any]:
        commands = list(self._execution_strategy._command_queue)  # type: ignore[attr-defined]
        if not commands:
            return []

        async def send(node: Redis) -> list[Any]:
            async with node.pipeline(transaction=True) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command.args, **command.kwargs)
                return await pipeline.execute(raise_on_error)

        first = commands[0].args
        key = first[3] if first[0] in _SCRIPTS else first[1]
        try:
            return await cast(Cluster, self.cluster_client).on_node(key, send)
        finally:
            await self.reset()  # type: ignore[no-untyped-call]
