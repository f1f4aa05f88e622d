"""`connect`: the tracker's client of Redis, whatever stands behind the URL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from .batching import BatchingRedis
from .redis_cluster import Cluster
from .redis_url import Kind, RedisPlace, parse_redis_url

CONNECTIONS: Final = 64
_WAIT_SECONDS: Final = 10  #: for a free connection
_REPLICA_MS: Final = 1_000  #: for replicas to have a change
_COMMON: Final[dict[str, Any]] = {
    "decode_responses": True,
    "socket_timeout": 5,
    "socket_connect_timeout": 5,
    "health_check_interval": 30,
}


@asynccontextmanager
async def connect(
    redis_url: str, *, connections: int = CONNECTIONS, encoding_errors: str = "strict"
) -> AsyncIterator[Redis]:
    """A client that waits for a free connection instead of failing, and gives up on a silent
    server after five seconds.

    Every script and every transaction of the tracker has its keys in one hash slot, so a client of
    a cluster serves as well as one of a single server. Scripts are safe to repeat, so the client
    tries twice more when a connection breaks.

    Raises:
        ValueError: `redis_url` is none (`redis_check.check_url` says so to operators).
    """
    place = parse_redis_url(redis_url)
    place.options["encoding_errors"] = encoding_errors
    redis = _client(place, connections)
    try:
        yield redis
    finally:
        await redis.aclose()


def _client(place: RedisPlace, connections: int) -> Redis:
    if place.kind is Kind.CLUSTER:
        # it has all the commands of a Redis, and none of the class
        return cast(Redis, Cluster(place.hosts, connections, **_COMMON, **place.options))
    pool: BlockingConnectionPool
    bounds: dict[str, Any] = {"max_connections": connections, "timeout": _WAIT_SECONDS}
    if place.kind is Kind.SENTINEL:
        sentinel = Sentinel(  # type: ignore[no-untyped-call]
            place.hosts,
            sentinel_kwargs={"socket_timeout": 1, "socket_connect_timeout": 1, "retry": _retry()}
            | place.sentinel_options,
        )
        pool = _SentinelPool(  # type: ignore[no-untyped-call]
            place.service, sentinel, **bounds, **_COMMON, retry=_retry(), **place.options
        )
    else:
        pool = BlockingConnectionPool.from_url(
            place.url, **bounds, **_COMMON, retry=_retry(), **place.options
        )
    redis: Redis
    if place.replicas:
        redis = _Replicated(place.replicas, pool)
    else:
        redis = BatchingRedis(connection_pool=pool)
    redis.auto_close_connection_pool = True
    return redis


def _retry() -> Retry:
    return Retry(ExponentialBackoff(cap=0.5, base=0.05), 2)


class _SentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to the master of the moment; whoever comes when all are used waits."""

    async def aclose(self) -> None:
        await super().aclose()
        for sentinel in self.sentinel_manager.sentinels:
            await sentinel.aclose()


class _Replicated(Redis):
    """A client whose scripts answer only after `replicas` replicas have what they changed.

    If they do not have it in time, the change is made all the same, and the caller is told that
    Redis is away: it asks again, and a script that is repeated changes nothing.
    """

    def __init__(self, replicas: int, pool: BlockingConnectionPool) -> None:
        super().__init__(connection_pool=pool)
        self._replicas = replicas

    def evalsha(self, sha: str, numkeys: int, *args: Any) -> Any:
        return self._wait("EVALSHA", sha, numkeys, *args)

    def eval(self, script: str, numkeys: int, *args: Any) -> Any:
        return self._wait("EVAL", script, numkeys, *args)

    async def _wait(self, *command: Any) -> Any:
        # On one connection: WAIT is about the writes of its own.
        async with self.pipeline(transaction=False) as pipeline:
            pipeline.execute_command(*command)
            pipeline.execute_command("WAIT", self._replicas, _REPLICA_MS)
            answer, reached = await pipeline.execute(raise_on_error=False)
        for result in (answer, reached):
            if isinstance(result, Exception):
                raise result
        if reached < self._replicas:
            raise RedisConnectionError(f"{reached} of {self._replicas} replicas have the change")
        return answer
