"""Commands of many tasks share pipelines, and each task gets what is its own."""

import asyncio

import pytest
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import DataError, RedisError, ResponseError

from tracker.batching import BatchingRedis


@pytest.fixture
async def batching(redis: Redis, redis_url: str):
    pool = BlockingConnectionPool.from_url(redis_url, decode_responses=True, max_connections=8)
    client = BatchingRedis(connection_pool=pool)
    client.auto_close_connection_pool = True
    yield client
    await client.aclose()


async def test_every_task_gets_its_own_answer(batching: BatchingRedis) -> None:
    async def work(number: int) -> None:
        await batching.set(f"k{number}", number)
        assert await batching.get(f"k{number}") == str(number)
        await batching.zadd("z", {f"m{number}": number})
        assert await batching.zrange("z", 0, -1, withscores=True) != []

    await asyncio.gather(*(work(number) for number in range(500)))
    assert await batching.dbsize() == 501


async def test_many_commands_at_once_take_few_round_trips(
    batching: BatchingRedis, redis: Redis
) -> None:
    async def pipelines() -> int:
        return int((await redis.info("stats"))["total_reads_processed"])

    before = await pipelines()
    await asyncio.gather(*(batching.incr("n") for _ in range(1000)))
    assert await redis.get("n") == "1000"
    assert await pipelines() - before < 100


async def test_an_error_of_one_command_is_its_callers_alone(batching: BatchingRedis) -> None:
    await batching.set("text", "x")
    answers = await asyncio.gather(
        batching.get("text"), batching.incr("text"), batching.get("text"), return_exceptions=True
    )
    assert answers[0] == answers[2] == "x"
    assert isinstance(answers[1], ResponseError)


@pytest.mark.parametrize("odd", ["\ud800", None])
async def test_what_cannot_be_encoded_is_its_callers_alone(batching: BatchingRedis, odd) -> None:
    answers = await asyncio.gather(
        batching.set("a", 1), batching.set("b", odd), batching.incr("n"), return_exceptions=True
    )
    assert isinstance(answers[1], UnicodeError | DataError)
    assert (answers[0], answers[2]) == (True, 1)


async def test_a_caller_who_gives_up_costs_the_others_nothing(batching: BatchingRedis) -> None:
    left = asyncio.create_task(batching.set("a", 1))
    stays = asyncio.create_task(batching.set("b", 2))
    await asyncio.sleep(0)
    left.cancel()
    assert await stays
    with pytest.raises(asyncio.CancelledError):
        await left


async def test_everybody_hears_that_redis_is_away() -> None:
    client = BatchingRedis(unix_socket_path="/nowhere/redis")
    answers = await asyncio.gather(
        *(client.get(str(number)) for number in range(20)), return_exceptions=True
    )
    assert all(isinstance(answer, RedisError) for answer in answers)
    await client.aclose()
