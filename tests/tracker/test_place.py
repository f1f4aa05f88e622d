"""Data directories that a tracker does not start on."""

import os
import shutil
import subprocess

import pytest

from tests.tracker.test_serve import fails


@pytest.fixture
def full_disk(tmp_path):
    if os.getuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a small disk of its own needs root")
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(small)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        (small / "ballast").write_bytes(b"x" * 2**20)
        yield small
    finally:
        subprocess.run(["umount", str(small)], check=True)


async def test_a_full_disk_is_said_before_anything_starts(full_disk):
    status, sentence = await fails(full_disk / "data")
    assert status == os.EX_CANTCREAT
    assert "is full (15 MiB are free, 16 are needed to start)" in sentence
    assert not (full_disk / "data" / "redis").exists()


async def test_an_empty_name_is_no_data_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, sentence = await fails("")
    assert status == 2
    assert "the name is empty" in sentence
    assert not list(tmp_path.iterdir())
