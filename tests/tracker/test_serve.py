"""`python -m tracker serve` as a process: first start, trouble, kill -9, stop."""

import asyncio
import json
import os
import re
import signal
import socket
import stat
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner

from laion_protocol import JobState, Outcome, Unauthorized
from laion_protocol.client import TrackerClient
from laion_protocol.messages import Completion, LeaseRequest, NewAccount, NewCrawl
from tests.tracker.running import RECIPE, until
from tests.tracker.shards import make_shard
from tracker.cli import main
from tracker.identity import new_token
from tracker.one_process import run_process
from tracker.place import Address, CannotServe, kept_once, listening
from tracker.redis_check import masked

ROOT = Path(__file__).parents[2]


async def start(data, *options):
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tracker", "serve", "--data", str(data), "--port", "0", *options,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip


@asynccontextmanager
async def served(data, *options):
    """A running process and its URL; killed at the end if it still runs."""
    (data / "tracker.json").unlink(missing_ok=True)
    process = await start(data, *options)
    try:
        await until(lambda: (data / "tracker.json").exists() or process.returncode is not None, 30)
        if process.returncode is not None:
            pytest.fail((await process.stdout.read()).decode())
        yield process, json.loads((data / "tracker.json").read_text())["url"]
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def fails(data, *options):
    """Exit status and the one sentence of a start that fails."""
    command = ["serve", "--data", str(data), "--port", "0", *options]
    result = await asyncio.to_thread(CliRunner().invoke, main, command)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    *_, last = result.output.strip().splitlines()
    assert last.startswith("Error: "), result.output
    return result.exit_code, last


async def test_kill_minus_nine_of_tracker_or_redis_loses_nothing_that_was_answered(tmp_path):
    data = tmp_path / "data"
    async with served(data, "--checkers", "0") as (process, url):
        token_file = data / "admin-token"
        assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
        async with TrackerClient(url, token_file.read_text().strip()) as admin:
            await admin.add_crawl(NewCrawl(name="A", base="/x", paths=("a", "b"), recipe=RECIPE))
            account = await admin.add_account(NewAccount(name="ann"))
        async with TrackerClient(url, account.token) as worker:
            ask = LeaseRequest(worker="pc", version="1")
            first, second = (await worker.lease(ask)).lease, (await worker.lease(ask)).lease
            shard = make_shard(tmp_path / "shard", RECIPE, lease=first)
            [slot] = (await worker.plan_uploads(first.lease_id, shard.files)).slots
            await worker.upload_file(slot, shard.directory / slot.name)
            receipt = await worker.complete(first.lease_id, Completion(manifest=shard.manifest))
            assert receipt.state is JobState.VERIFYING
        process.send_signal(signal.SIGKILL)
        output = (await process.communicate())[0].decode()
        assert account.token.split("_")[2] not in output
        assert token_file.read_text().strip() not in output
        assert str(token_file) in output

    async with (
        served(data) as (process, url),
        TrackerClient(url, account.token) as worker,
    ):
        held = (await worker.held_leases("pc")).leases
        assert [lease.lease_id for lease in held] == [second.lease_id]
        await settled(worker, first.lease_id)
        os.kill(private_redis_of(process), signal.SIGKILL)
        async with asyncio.timeout(20):
            output = (await process.communicate())[0].decode()
        assert process.returncode == os.EX_UNAVAILABLE
        assert "Error: the private redis-server ended" in output


async def test_trackers_on_one_redis_and_one_directory_are_one(tmp_path, redis, redis_url):
    data, where = tmp_path / "data", ("--redis-url", redis_url)
    data.mkdir()
    async with served(data, *where, "--checkers", "0") as (_, one):
        token = (data / "admin-token").read_text().strip()
        async with served(data, *where) as (_, two):
            assert one != two
            assert (data / "admin-token").read_text().strip() == token
            async with TrackerClient(two, token) as admin:
                await admin.add_crawl(NewCrawl(name="A", base="/x", paths=("a",), recipe=RECIPE))
                account = await admin.add_account(NewAccount(name="ann"))
            async with TrackerClient(one, account.token) as worker:
                lease = (await worker.lease(LeaseRequest(worker="pc", version="1"))).lease
                shard = make_shard(tmp_path / "shard", RECIPE, lease=lease)
                [slot] = (await worker.plan_uploads(lease.lease_id, shard.files)).slots
                await worker.upload_file(slot, shard.directory / slot.name)
                await worker.complete(lease.lease_id, Completion(manifest=shard.manifest))
                await settled(worker, lease.lease_id)  # by the other one

        other = tmp_path / "other"
        status, sentence = await fails(other, *where)
        assert status == os.EX_CONFIG
        assert sentence == (
            f"Error: the shards of Redis at {redis_url} lie elsewhere than in {other}; "
            "start with that place as --data or --store, or choose another --redis-url"
        )
        assert (await fails(data))[0] == os.EX_CANTCREAT  # with a Redis of its own it shares none
        (other / "store-id").write_text("")
        status, sentence = await fails(other, *where)
        assert status == os.EX_CONFIG
        assert f"{other / 'store-id'} holds no store id" in sentence


async def test_a_stolen_token_that_was_replaced_is_not_taken_after_a_start(
    tmp_path, redis, redis_url
):
    where = ("--redis-url", redis_url)
    file = tmp_path / "admin-token"
    async with served(tmp_path, *where) as (process, url):
        stolen = file.read_text().strip()
        async with TrackerClient(url, stolen) as operator:
            await operator.renew_token("operator")
        await stopped(process)
    async with served(tmp_path, *where) as (process, url):
        async with TrackerClient(url, stolen) as thief:
            with pytest.raises(Unauthorized):
                await thief.accounts()
        [warning] = [line for line in (await stopped(process)).splitlines() if str(file) in line]
        assert "not taken any more" in warning
        assert "delete the file" in warning
    file.unlink()
    async with served(tmp_path, *where) as (process, url):
        async with TrackerClient(url, file.read_text().strip()) as operator:
            assert (await operator.accounts()).rows
        assert "not taken any more" not in await stopped(process)


async def stopped(process):
    """What the process wrote until it ended at our request."""
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(20):
        return (await process.communicate())[0].decode()


async def test_trackers_that_start_at_once_have_one_token(tmp_path):
    new = [new_token() for _ in range(20)]
    path = tmp_path / "token"
    kept = await asyncio.gather(*(asyncio.to_thread(kept_once, path, token) for token in new))
    assert len(set(kept)) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["token"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def settled(worker, lease_id):
    for _ in range(400):
        receipt = await worker.receipt(lease_id)
        if receipt.outcome is not None:
            break
        await asyncio.sleep(0.05)
    assert receipt.outcome is Outcome.OK


def private_redis_of(process):
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    names = {int(pid): Path(f"/proc/{pid}/comm").read_text().strip() for pid in children}
    [found] = [pid for pid, name in names.items() if "redis" in name or "valkey" in name]
    return found


async def test_a_second_tracker_on_the_same_data_or_port_is_refused_and_ctrl_c_ends_the_first(
    tmp_path,
):
    async with served(tmp_path) as (process, url):
        assert await fails(tmp_path) == (
            os.EX_CANTCREAT,
            f"Error: another tracker runs on {tmp_path}; stop it, or choose another --data",
        )
        port = url.rpartition(":")[2]
        status, sentence = await fails(tmp_path / "other", "--port", port)
        assert status == os.EX_UNAVAILABLE
        assert f"127.0.0.1:{port}" in sentence
        async with aiohttp.ClientSession(url) as session, session.get("/v1/events") as stream:
            process.send_signal(signal.SIGINT)  # also while somebody follows the events
            async with asyncio.timeout(20):
                assert await process.wait() == 0
            stream.close()


async def test_a_data_directory_that_cannot_be_one_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    status, sentence = await fails(tmp_path / "file" / "data")
    assert status == os.EX_CANTCREAT
    assert "choose another --data" in sentence


async def test_a_redis_that_is_not_there_is_named_without_its_password(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"redis://me:hunter2@127.0.0.1:{port}/0"
    status, sentence = await fails(tmp_path, "--redis-url", url)
    assert status == os.EX_UNAVAILABLE
    assert f"127.0.0.1:{port}" in sentence
    assert "hunter2" not in sentence


async def test_a_cluster_that_is_not_there_is_named_too(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{free.getsockname()[1]}"
        status, sentence = await fails(tmp_path, "--redis-url", f"redis+cluster://{where}")
    assert status == os.EX_UNAVAILABLE
    assert where in sentence


async def test_an_address_of_another_machine_asks_for_another_host(tmp_path):
    status, sentence = await fails(tmp_path, "--host", "192.0.2.1")
    assert status == os.EX_UNAVAILABLE
    assert "choose another --host" in sentence


@pytest.mark.parametrize("value", ["nan", "inf", "1e300", "-1"])
@pytest.mark.parametrize("option", ["--lease-seconds", "--idle-seconds", "--rate-factor"])
async def test_a_number_that_is_none_is_wrong_usage(tmp_path, option, value):
    status, sentence = await fails(tmp_path / "data", option, value)
    assert status == 2
    assert option in sentence
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "url", ["tracker.example", "ftp://tracker.example", "https://", "http://["]
)
async def test_a_public_url_that_is_none_is_wrong_usage(tmp_path, url):
    status, sentence = await fails(tmp_path / "data", "--public-url", url)
    assert status == 2
    assert "https://tracker.example" in sentence


@pytest.mark.parametrize(
    ("option", "values"),
    {
        "--max-held": ("0", "-1", "1000000000000000000"),
        "--max-held-account": ("0", "1000000000000000000"),
        "--max-connections": ("0", "1000000000000000000"),
        "--max-backlog": ("-1", "1000000000000000000"),
        "--dedupe-pairs": ("0", "-1", "1000000000000000000"),
        "--max-store-bytes": ("-1", "10000000000000000000000"),
        "--min-free-bytes": ("-1", "10000000000000000000000"),
        "--workers": ("0", "65"),
    }.items(),
)
async def test_a_number_that_is_out_of_range_is_told_the_range(tmp_path, option, values):
    for value in values:
        status, sentence = await fails(tmp_path / "data", option, value)
        assert status == 2
        assert re.search(rf"'{option}': {value} is not in the range \d+<=x<=\d+", sentence)
    assert not (tmp_path / "data").exists()


async def test_options_that_would_do_nothing_are_refused(tmp_path):
    data = tmp_path / "data"
    status, sentence = await fails(data, "--s3-endpoint", "https://s3.example.org")
    assert (status, "--store s3://BUCKET" in sentence) == (2, True)
    status, sentence = await fails(data, "--max-held", "65")
    assert (status, "raise the second too" in sentence) == (2, True)
    assert not data.exists()


@pytest.mark.parametrize(
    ("store", "endpoint", "told"),
    [
        ("file:///x", "", "--store 'file:///x' is not s3://BUCKET"),
        ("s3://b", "", "3 to 63 lower-case letters"),
        ("s3://bucket", "nonsense", "--s3-endpoint 'nonsense' is no URL"),
        ("s3://bucket", "ftp://me:hunter2@host", "--s3-endpoint 'host' is no URL"),
        ("s3://bucket", "https://me:hunter2@host", "--s3-endpoint holds a key"),
    ],
)
async def test_a_store_that_cannot_be_is_named_with_its_option(tmp_path, store, endpoint, told):
    status, sentence = await fails(tmp_path, "--store", store, "--s3-endpoint", endpoint)
    assert status == 2
    assert told in sentence
    assert "hunter2" not in sentence


async def test_sentinels_that_are_not_there_are_given_up_within_seconds(tmp_path):
    hosts = ",".join(f"127.0.0.1:{port}" for port in (1, 2))
    async with asyncio.timeout(8):  # it took 25 s
        status, sentence = await fails(tmp_path, "--redis-url", f"redis+sentinel://{hosts}/m")
    assert status == os.EX_UNAVAILABLE
    assert hosts in sentence


async def test_a_process_that_cannot_start_says_so_as_several_do(settings):
    (settings.data / "address.key").mkdir(parents=True)  # no process can read it
    with (
        listening(Address(host="127.0.0.1", port=0)) as listener,
        pytest.raises(CannotServe, match="did not start; its log says why") as ended,
    ):
        await run_process(settings, listener)
    assert ended.value.status == os.EX_SOFTWARE


async def test_more_checkers_than_any_machine_carries_are_refused(tmp_path):
    status, sentence = await fails(tmp_path / "data", "--checkers", "1000000")
    assert status == 2
    assert "--checkers" in sentence


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:p@h:1/0", "redis://:***@h:1/0"),
        ("rediss://u:p@h/0?x=1", "rediss://u:***@h/0"),
        ("redis://h:1/0?password=p", "redis://h:1/0"),
        ("unix:///run/r.sock", "unix:///run/r.sock"),
    ],
)
def test_passwords_are_masked(url, shown):
    assert masked(url) == shown
