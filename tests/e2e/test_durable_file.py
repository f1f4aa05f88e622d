"""An imitated power cut takes away of Redis's append-only file, and adds nothing to it."""

import asyncio
import os
from contextlib import asynccontextmanager
from random import Random

import pytest

from tests.e2e.chaos.durable_file import DurableFile


@pytest.fixture
def path(tmp_path):
    return tmp_path / "appendonly.aof"


@asynccontextmanager
async def watched(directory):
    file = DurableFile(directory)
    watch = asyncio.create_task(file.watch())
    try:
        yield file
    finally:
        watch.cancel()


async def grow(path, *sizes):
    for size in sizes:
        path.write_bytes(b"x" * size)
        await asyncio.sleep(0.1)


async def test_what_was_written_in_the_last_second_may_be_lost(tmp_path, path):
    async with watched(tmp_path) as file:
        await grow(path, 100, 200, 300)
    file.cut_back(Random(1))
    assert 100 <= path.stat().st_size < 300


async def test_a_new_file_of_the_same_name_is_not_taken_for_the_old_one(tmp_path, path):
    async with watched(tmp_path) as file:
        await grow(path, 1000, 2000)
    os.replace(path, tmp_path / "old")  # else the new one may get its inode
    path.write_bytes(b"x" * 3000)
    file.cut_back(Random(1))
    assert path.stat().st_size == 3000


async def test_a_file_never_gets_longer(tmp_path, path):
    async with watched(tmp_path) as file:
        await grow(path, 1000, 2000)
    os.truncate(path, 50)
    file.cut_back(Random(1))
    assert path.stat().st_size == 50


async def test_a_file_that_vanishes_meanwhile_does_not_end_the_watch(tmp_path, path):
    vanished = tmp_path / "appendonlydir" / "1.incr.aof"  # there for `glob`, not for `stat`
    vanished.parent.mkdir()
    vanished.symlink_to(tmp_path / "nowhere")
    async with watched(tmp_path) as file:
        await asyncio.sleep(0.05)
        vanished.unlink()
        await grow(path, 100, 200, 300)
    file.cut_back(Random(1))
    assert path.stat().st_size < 300
