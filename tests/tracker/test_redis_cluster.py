"""The whole tracker on a real cluster of three nodes."""

import asyncio

import aiohttp
import pytest
import pytest_asyncio
from redis.asyncio import RedisCluster

from laion_protocol import Conflict, JobState, Role
from laion_protocol.client import TrackerClient
from laion_protocol.messages import (
    Completion,
    FindJobs,
    Heartbeat,
    JobFilter,
    LeaseRequest,
    NewAccount,
    NewCrawl,
    Release,
    RequeueSelection,
    Treat,
    Undo,
)
from tests.tracker.redis_servers import cluster
from tests.tracker.running import RECIPE, serving
from tests.tracker.shards import make_shard
from tests.tracker.test_serve import settled
from tracker.connection import connect
from tracker.identity import Accounts
from tracker.queue import JobQueue, keys
from tracker.settings import Settings


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nodes(tmp_path_factory):
    async with cluster(tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


@pytest.fixture
async def url(nodes):
    for node in nodes:
        async with node.client() as redis:
            await redis.flushall()
    return f"redis+cluster://127.0.0.1:{nodes[0].port},127.0.0.1:{nodes[1].port}"


async def test_a_tracker_works_on_a_cluster(url, nodes, tmp_path):
    settings = Settings(data=tmp_path / "data", redis_url=url, min_free_bytes=0)
    async with connect(url) as redis:
        token = await Accounts(redis).add("root", Role.ADMIN)
        with pytest.raises(Conflict):
            await Accounts(redis).add("root", Role.ADMIN)
    async with serving(settings) as at, TrackerClient(at, token) as admin:
        names = [f"CC-{number}" for number in range(6)]
        for name in names:
            await admin.add_crawl(NewCrawl(name=name, base="/x", paths=("a", "b"), recipe=RECIPE))
        account = await admin.add_account(NewAccount(name="ann", discord_id="7"))
        async with TrackerClient(at, account.token) as worker:
            done = await work(worker, tmp_path, names)
        await admin.renew_token("ann")
        stats = await admin.stats()
        assert {crawl.name for crawl in stats.crawls if crawl.jobs.accepted == 1} == done
        assert [row.jobs for row in (await admin.leaderboard()).rows] == [len(done)]
        assert {row.action for row in (await admin.audit(100)).rows} >= {"crawl_add"}
        async with aiohttp.ClientSession(at) as session, session.get("/readyz") as answer:
            ready = await answer.json()
            assert (answer.status, ready["ready"]) == (200, True)
            assert any("append-only" in warning for warning in ready["warnings"])

    # the work was that of several nodes
    async with connect(url) as redis:
        assert isinstance(redis, RedisCluster)
        await redis.initialize()
        assert len({redis.get_node_from_key(keys.meta(name)).name for name in names}) > 1


async def work(worker, tmp_path, names):
    """One job of each crawl that was leased from is accepted, the others are handed back."""
    ask = LeaseRequest(worker="pc", version="1")
    leases = [(await worker.lease(ask)).lease for _ in range(len(names) + 1)]
    assert len((await worker.held_leases("pc")).leases) == len(names) + 1
    done: set[str] = set()
    for number, lease in enumerate(leases):
        crawl = lease.job.partition("/")[0]
        if crawl in done:
            await worker.release(lease.lease_id, Release(reason="enough"))
            continue
        done.add(crawl)
        await worker.heartbeat(lease.lease_id, Heartbeat())
        shard = make_shard(tmp_path / f"shard{number}", RECIPE, lease=lease)
        [slot] = (await worker.plan_uploads(lease.lease_id, shard.files)).slots
        await worker.upload_file(slot, shard.directory / slot.name)
        receipt = await worker.complete(lease.lease_id, Completion(manifest=shard.manifest))
        assert receipt.state is JobState.VERIFYING
        await settled(worker, lease.lease_id)
    return done


async def test_jobs_of_crawls_on_several_nodes_are_taken_back_and_undone_at_once(url, tmp_path):
    settings = Settings(data=tmp_path / "data", redis_url=url, min_free_bytes=0)
    async with connect(url) as redis:
        token = await Accounts(redis).add("root", Role.ADMIN)
    async with serving(settings) as at, TrackerClient(at, token) as admin:
        for number in range(6):
            new = NewCrawl(name=f"CC-{number}", base="/x", paths=("a",), recipe=RECIPE)
            await admin.add_crawl(new)
        account = await admin.add_account(NewAccount(name="ann"))
        async with TrackerClient(at, account.token) as worker:
            ask = LeaseRequest(worker="pc", version="1")
            leases = [(await worker.lease(ask)).lease for _ in range(6)]
            filter = JobFilter(account="ann")
            found = await admin.search_jobs(FindJobs(filter=filter))
            assert found.total == 6
            done = await admin.requeue_selection(
                RequeueSelection(filter=filter, selection=found.selection, reason="x")
            )
            assert done.verdicts == {"requeued": 6}
            undone = await admin.undo(done.action, Undo(reason="y"))
            assert undone.verdicts == {"undone": 6}
            assert [(row.jobs, row.undone) for row in (await admin.actions()).rows] == [(6, 6)]
            for lease in leases:
                await worker.heartbeat(lease.lease_id, Heartbeat())
            assert (await admin.ban("ann", None, Treat(reason="z"))).cancelled == 6
            await admin.pardon("ann", None, Treat(reason="z"))


async def test_more_calls_than_connections_wait_for_their_turn(url):
    async with connect(url, connections=4) as redis:
        queue = JobQueue(redis)
        new = NewCrawl(name="A", base="/x", paths=("a",), recipe=RECIPE, parts=50)
        await queue.add(new)

        async def pipelined():
            async with redis.pipeline(transaction=False) as pipeline:
                for name in ("a", "b", "c"):
                    pipeline.get(name)
                await pipeline.execute()

        await asyncio.gather(*(pipelined() for _ in range(100)))
        leased = await asyncio.gather(*(queue.lease("A", f"ann{n}", "pc") for n in range(100)))
        assert len({lease.job for lease in leased if hasattr(lease, "job")}) == 50


async def test_a_transaction_is_seen_whole_and_one_that_was_overtaken_is_done_again(url):
    async with connect(url) as redis:

        async def count(pipe):
            value = int(await pipe.get("{t}:n") or 0)
            await asyncio.sleep(0)
            pipe.multi()
            pipe.set("{t}:n", value + 1)

        await asyncio.gather(*(redis.transaction(count, "{t}:n") for _ in range(20)))
        assert await redis.get("{t}:n") == "20"
        async with redis.pipeline(transaction=True) as pipe:
            pipe.set("{t}:a", "1")
            pipe.get("{t}:a")
            assert await pipe.execute() == [True, "1"]


async def test_a_slot_that_moves_is_followed(url, nodes):
    slot_key = "{t}:n"
    async with connect(url) as redis:
        await redis.set(slot_key, "1")
        slot = redis.keyslot(slot_key)
        old = redis.get_node_from_key(slot_key)
        [old_server] = [server for server in nodes if server.port == old.port]
        new_server = next(server for server in nodes if server.port != old.port)
        async with old_server.client() as source, new_server.client() as target:
            ids = [await one.execute_command("CLUSTER MYID") for one in (source, target)]
            await source.delete(slot_key)  # an empty slot needs no migration
            for one in (target, source):
                await one.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[1])

        async def put(pipe):
            pipe.multi()
            pipe.set(slot_key, "2")

        await redis.transaction(put, slot_key)
        assert await redis.get(slot_key) == "2"
