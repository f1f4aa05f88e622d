"""A backup, a disaster, and the work after it."""

import asyncio
import gzip
import json
import os
import shutil
import stat
import tempfile

import pytest
from click.testing import CliRunner
from redis.asyncio import Redis

from laion_protocol import Outcome
from laion_protocol.client import TrackerClient
from laion_protocol.messages import Completion, LeaseRequest, NewAccount, NewCrawl
from tests.tracker.redis_servers import cluster
from tests.tracker.running import RECIPE
from tests.tracker.shards import make_shard
from tests.tracker.test_serve import fails, served, settled, stopped
from tracker import redis_copy
from tracker.backup import back_up, restore
from tracker.cli import main
from tracker.connection import connect
from tracker.place import CannotServe
from tracker.private_redis import PrivateRedis
from tracker.schema import SCHEMA_KEY, ensure_schema


async def command(*words):
    result = await asyncio.to_thread(CliRunner().invoke, main, [str(word) for word in words])
    return result.exit_code, result.output.strip()


async def hand_in(worker, lease, directory):
    shard = make_shard(directory, RECIPE, lease=lease)
    [slot] = (await worker.plan_uploads(lease.lease_id, shard.files)).slots
    await worker.upload_file(slot, shard.directory / slot.name)
    await worker.complete(lease.lease_id, Completion(manifest=shard.manifest))


async def test_after_a_disaster_the_work_goes_on_from_the_backup(tmp_path):
    data, file = tmp_path / "data", tmp_path / "backup.gz"
    ask = LeaseRequest(worker="pc", version="1")
    async with served(data) as (process, url):
        token = (data / "admin-token").read_text().strip()
        async with TrackerClient(url, token) as admin:
            new = NewCrawl(name="A", base="/x", paths=("a", "b", "c", "d"), recipe=RECIPE)
            await admin.add_crawl(new)
            account = await admin.add_account(NewAccount(name="ann"))
        async with TrackerClient(url, account.token) as worker:
            done, under_way = (await worker.lease(ask)).lease, (await worker.lease(ask)).lease
            await hand_in(worker, done, tmp_path / "one")
            await settled(worker, done.lease_id)

            status, said = await command("backup", file, "--data", data)  # beside the tracker
            assert (status, said.startswith(f"{file} holds ")) == (0, True)
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert account.token.split("_")[2] not in gzip.decompress(file.read_bytes()).decode()
            shutil.copytree(data / "shards", tmp_path / "copied")

            lost = (await worker.lease(ask)).lease
            await hand_in(worker, lost, tmp_path / "two")
            await settled(worker, lost.lease_id)
        await stopped(process)
    shutil.rmtree(data)

    status, said = await command("restore", file, "--data", data)
    assert status == 0, said
    shutil.copytree(tmp_path / "copied", data / "shards")
    async with (
        served(data) as (process, url),
        TrackerClient(url, account.token) as worker,
    ):
        assert (await worker.receipt(done.lease_id)).outcome is Outcome.OK
        assert [lease.lease_id for lease in (await worker.held_leases("pc")).leases] == [
            under_way.lease_id
        ]
        await hand_in(worker, under_way, tmp_path / "three")
        await settled(worker, under_way.lease_id)
        again = (await worker.lease(ask)).lease
        assert again.job == lost.job  # what came after the backup is done once more
        assert again.lease_id != lost.lease_id
        [crawl] = (await worker.stats()).crawls
        assert crawl.jobs.accepted == 2
        status, said = await command("restore", file, "--data", data)
        assert status == os.EX_CANTCREAT
        assert "another tracker runs" in said
        await stopped(process)
    status, said = await command("restore", file, "--data", data)
    assert (status, "is not empty" in said) == (os.EX_CONFIG, True)


async def test_a_file_that_is_there_is_kept_unless_it_is_to_be_replaced(source, tmp_path):
    redis, file = source
    before = file.read_bytes()
    for path in (file, tmp_path / "link"):
        if path != file:
            path.symlink_to(tmp_path / "nowhere")
        with pytest.raises(CannotServe, match=r"is there already; .* --force") as refused:
            await back_up(redis, path)
        assert refused.value.status == os.EX_CANTCREAT
    assert file.read_bytes() == before
    await redis.set("more", "1")
    await back_up(redis, file, replace=True)
    assert file.read_bytes() != before
    where = ("--redis-url", "unix://" + redis.connection_pool.connection_kwargs["path"])
    status, said = await command("backup", file, *where)
    assert (status, "--force" in said) == (os.EX_CANTCREAT, True)
    status, said = await command("backup", file, "--force", *where)
    assert (status, "keys" in said) == (0, True)


async def test_without_the_memory_for_a_copy_no_backup_is_begun(source, tmp_path, monkeypatch):
    redis, _ = source
    monkeypatch.setattr("tracker.backup.free_memory", lambda: 2**20)
    with pytest.raises(CannotServe, match=r"needs the memory of a second copy, . MiB") as refused:
        await back_up(redis, tmp_path / "b.gz")
    assert refused.value.status == os.EX_OSERR
    assert not (tmp_path / "b.gz").exists()


async def test_copies_that_were_killed_are_gone_after_the_next_backup(
    source, tmp_path, monkeypatch
):
    redis, file = source
    scratch = tmp_path / "scratch"
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    (scratch / "laion-copy-dead" / "0").mkdir(parents=True)
    (scratch / "laion-copy-dead" / "0" / "snapshot.rdb").write_text("secret")
    alive = scratch / "laion-copy-alive"
    alive.mkdir()
    with redis_copy._locked(alive):
        await back_up(redis, file, replace=True)
    assert [path.name for path in scratch.iterdir()] == ["laion-copy-alive"]


@pytest.fixture
async def source(tmp_path):
    """A Redis with a key of each type, and its backup."""
    async with PrivateRedis(tmp_path / "source") as private, connect(private.url) as redis:
        await ensure_schema(redis)
        await redis.set("string", "snow ☃ \x00")
        await redis.hset("hash", mapping={f"field{n}": "v" * (n % 7) for n in range(5000)})
        await redis.sadd("set", *range(3000))
        await redis.zadd("zset", {f"m{n}": n / 7 for n in range(3000)} | {"inf": float("inf")})
        await redis.rpush("list", *range(2500))
        async with redis.pipeline(transaction=False) as many:
            for number in range(1500):
                many.xadd("stream", {"event": number, "b": ""}, id=f"{number + 1}-1")
            await many.execute()
        await redis.xtrim("stream", maxlen=1200, approximate=False)
        await redis.xadd("emptied", {"a": 1}, id="77-0")
        await redis.xtrim("emptied", maxlen=0)
        await redis.set("short", "1", px=3_600_000)
        await redis.set("gone", "1", px=1)
        async with Redis.from_url(private.url) as raw:
            await raw.set("bytes", b"\xff\xfe\x00")
        file = tmp_path / "backup.gz"
        await back_up(redis, file)
        yield redis, file


async def contents(redis):
    found = {}
    async for key in redis.scan_iter(count=1000):
        kind = await redis.type(key)
        if kind == "stream":
            info = await redis.xinfo_stream(key)
            found[key] = (await redis.xrange(key), info["last-generated-id"])
        elif kind == "hash":
            found[key] = await redis.hgetall(key)
        elif kind == "set":
            found[key] = await redis.smembers(key)
        elif kind == "zset":
            found[key] = await redis.zrange(key, 0, -1, withscores=True)
        elif kind == "list":
            found[key] = await redis.lrange(key, 0, -1)
        else:
            found[key] = await redis.get(key)
    return found


async def test_every_type_comes_back_as_it_was(source, tmp_path):
    redis, file = source
    async with PrivateRedis(tmp_path / "target") as private:
        async with connect(private.url, encoding_errors="surrogateescape") as target:
            await restore(target, file)
        async with (
            Redis.from_url(private.url, decode_responses=True, encoding_errors="replace") as there,
            Redis.from_url(
                redis.connection_pool.connection_kwargs["path"].join(["unix://", ""]),
                decode_responses=True, encoding_errors="replace",
            ) as here,
        ):  # fmt: skip
            assert await contents(there) == await contents(here)
            assert abs(await there.pttl("short") - await here.pttl("short")) < 5000
            assert await there.ttl("string") == -1
        async with Redis.from_url(private.url) as raw:
            assert await raw.get("bytes") == b"\xff\xfe\x00"


async def test_a_broken_file_is_refused_and_nothing_is_written(source, redis, tmp_path):
    _, file = source
    whole = gzip.decompress(file.read_bytes())
    lines = whole.splitlines(keepends=True)
    broken = {
        "cut off": b"".join(lines[:-1]),
        "checksum": whole.replace(b"snow", b"rain"),
        "a tracker": b'{"a": 1}\n',
        "no backup": b"{}\n[1]\n",
        "format 2": whole.replace(b'"laion_tracker_backup":1', b'"laion_tracker_backup":2'),
    }
    for number, (why, text) in enumerate(broken.items()):
        path = tmp_path / f"broken{number}"
        path.write_bytes(gzip.compress(text))
        with pytest.raises(CannotServe, match=why):
            await restore(redis, path)
    for number, data in enumerate([file.read_bytes()[:-2000], b"hello", b""]):
        path = tmp_path / f"short{number}"
        path.write_bytes(data)
        with pytest.raises(CannotServe, match="cannot be restored"):
            await restore(redis, path)
    lines[0] = json.dumps({**json.loads(lines[0]), "schema": "99"}).encode() + b"\n"
    assert await redis.dbsize() == 0


async def test_a_restore_that_was_cut_off_is_noticed(source, redis, redis_url, tmp_path):
    _, file = source
    await redis.config_set("maxmemory", 1)  # it refuses all that needs memory
    try:
        with pytest.raises(CannotServe, match="refused"):
            await restore(redis, file)
    finally:
        await redis.config_set("maxmemory", 0)
    await redis.set(SCHEMA_KEY, "restoring")
    status, sentence = await fails(tmp_path / "data", "--redis-url", redis_url)
    assert status == os.EX_CONFIG
    assert "was cut off; empty it, then restore again" in sentence


async def test_a_backup_that_cannot_be_made_leaves_no_file(redis, redis_url, tmp_path):
    with pytest.raises(CannotServe, match="no tracker's data"):
        await back_up(redis, tmp_path / "a.gz")
    await ensure_schema(redis)
    with pytest.raises(CannotServe, match="cannot be written: its directory is not there"):
        await back_up(redis, tmp_path / "nowhere" / "a.gz")
    await redis.execute_command("ACL SETUSER clerk on >pw ~* +@all -sync -psync")
    async with connect(f"{redis_url}?username=clerk&password=pw") as clerk:
        with pytest.raises(CannotServe, match="right to SYNC"):
            await back_up(clerk, tmp_path / "a.gz")
    assert [path.name for path in tmp_path.iterdir()] == []
    status, said = await command("backup", tmp_path / "a.gz", "--data", tmp_path / "none")
    assert (status, "holds no tracker's Redis" in said) == (os.EX_NOINPUT, True)
    status, said = await command("backup", "", "--data", tmp_path)
    assert (status, "the name is empty" in said) == (2, True)
    status, said = await command("restore", tmp_path / "none", "--data", tmp_path / "new")
    assert (status, "cannot be read (No such file" in said) == (os.EX_NOINPUT, True)
    status, said = await command("restore", tmp_path, "--data", tmp_path / "new")
    assert (status, "cannot be read (Is a directory)" in said) == (os.EX_NOINPUT, True)


async def test_a_cluster_is_backed_up_whole(source, tmp_path):
    _, file = source
    async with (
        cluster(tmp_path / "cluster") as nodes,
        connect(
            f"redis+cluster://127.0.0.1:{nodes[0].port}", encoding_errors="surrogateescape"
        ) as redis,
    ):
        await restore(redis, file)
        await back_up(redis, tmp_path / "again.gz")
    first, again = (
        sorted(gzip.decompress(path.read_bytes()).splitlines()[1:-1])
        for path in (file, tmp_path / "again.gz")
    )
    keys = [{json.loads(line)["key"] for line in lines} for lines in (first, again)]
    assert keys[0] == keys[1]
