"""`serve --workers`: several processes, one port, one Redis."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

from laion_protocol import Unavailable
from laion_protocol.client import TrackerClient
from laion_protocol.messages import Completion, LeaseRequest, NewAccount, NewCrawl
from tests.tracker.running import RECIPE, until
from tests.tracker.shards import make_shard
from tests.tracker.test_serve import private_redis_of, served, settled, start, stopped


def members_of(process):
    """Processes that serve; not the private Redis, nor what it takes to start one."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [
        int(pid) for pid in children if b"fleet_member" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_kill_minus_nine_of_one_of_several_processes_loses_nothing(tmp_path):
    data = tmp_path / "data"
    async with served(data, "--workers", "2") as (process, url):
        token = (data / "admin-token").read_text().strip()
        async with TrackerClient(url, token, patience=20) as admin:
            new = NewCrawl(name="A", base="/x", paths=("a",), parts=100, recipe=RECIPE)
            await admin.add_crawl(new)
            account = await admin.add_account(NewAccount(name="ann"))
        await until(lambda: len(members_of(process)) == 2)
        first = members_of(process)
        leased: set[str] = set()

        async def work(name):
            """Each call on a connection of its own, so that both processes get their share."""
            for number in range(8):
                async with TrackerClient(url, account.token, patience=30) as worker:
                    # no answer, so no promise: a client asks what it holds before it asks again
                    with contextlib.suppress(Unavailable):
                        answer = await worker.lease(LeaseRequest(worker=name, version="1"))
                        leased.add(answer.lease.lease_id)
                if (name, number) == ("pc0", 2):
                    os.kill(first[0], signal.SIGKILL)

        await asyncio.gather(*(work(f"pc{number}") for number in range(4)))
        await until(lambda: len(members_of(process)) == 2 and first[0] not in members_of(process))
        async with TrackerClient(url, account.token, patience=30) as worker:
            held = [
                lease
                for number in range(4)
                for lease in (await worker.held_leases(f"pc{number}")).leases
            ]
            assert len(leased) >= 4 * 7
            assert {lease.lease_id for lease in held} >= leased
            assert len({lease.job for lease in held}) == len(held)
            shard = make_shard(tmp_path / "shard", RECIPE, lease=held[0])
            [slot] = (await worker.plan_uploads(held[0].lease_id, shard.files)).slots
            await worker.upload_file(slot, shard.directory / slot.name)
            await worker.complete(held[0].lease_id, Completion(manifest=shard.manifest))
            await settled(worker, held[0].lease_id)
        pids = [*members_of(process), private_redis_of(process)]
        output = await stopped(process)
        assert process.returncode == 0
        assert "process 1 of 2 ended (status -9)" in output or "process 2 of 2 ended" in output
        assert not any(map(alive, pids))


async def test_all_processes_end_when_their_parent_is_killed(tmp_path):
    async with served(tmp_path, "--workers", "2") as (process, _):
        await until(lambda: len(members_of(process)) == 2)
        pids = members_of(process)
        process.kill()
        assert await process.wait() == -signal.SIGKILL
        await until(lambda: not any(map(alive, pids)), 20)


async def test_a_process_that_ends_while_it_starts_does_not_stop_one_that_serves(tmp_path):
    async with served(tmp_path, "--workers", "2") as (process, url):
        await until(lambda: len(members_of(process)) == 2)
        async with TrackerClient(url, None, patience=20) as anyone:
            await anyone.stats()
            await asyncio.sleep(1)  # until the parent has heard of it too
            first, serving = members_of(process)
            for _ in range(2):  # the second time it is surely one that does not serve yet
                [other] = set(members_of(process)) - {serving}
                os.kill(other, signal.SIGKILL)
                await until(lambda o=other: len(set(members_of(process)) - {serving, o}) == 1, 60)
            await anyone.stats()
        assert first not in members_of(process)
        assert "another one starts" in await stopped(process)
        assert process.returncode == 0


async def test_processes_that_cannot_start_are_told_of_once(tmp_path):
    (tmp_path / "address.key").mkdir()  # no process can read it
    process = await start(tmp_path, "--workers", "2")
    output = (await process.communicate())[0].decode()
    assert process.returncode == os.EX_SOFTWARE
    assert output.splitlines()[-1] == "Error: the tracker did not start; its log says why"
