"""How large a model's pictures are, as far as the tracker can tell."""

import asyncio
import hashlib

import pytest

from laion_protocol import ModelSpec, NotFound, Unavailable
from tracker import model_sides
from tracker.model_sides import ModelSides

CONFIG = b'{"vision_cfg": {"image_size": 64}}'
SPEC = ModelSpec(
    architecture="tiny",
    config_sha256=hashlib.sha256(CONFIG).hexdigest(),
    weights_sha256="1" * 64,
)


class Files:
    """Model files that are away, missing or there."""

    def __init__(self, found):
        self.found, self.asked = found, 0

    async def locate(self, sha256):
        self.asked += 1
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


@pytest.fixture
def config(tmp_path):
    (tmp_path / "config").write_bytes(CONFIG)
    return tmp_path / "config"


async def test_a_config_is_read_once(config):
    files = Files(config)
    sides = ModelSides(files)
    assert [await sides.of(SPEC), await sides.of(SPEC), await sides.is_known(SPEC)] == [
        64,
        64,
        True,
    ]
    assert files.asked == 1


async def test_a_config_that_nobody_put_is_looked_for_again(config, monkeypatch):
    files = Files(NotFound("no such file"))
    sides = ModelSides(files)
    assert [await sides.of(SPEC), await sides.of(SPEC), files.asked] == [None, None, 1]
    monkeypatch.setattr(model_sides, "_LOOK_AGAIN", 0)
    files.found = config
    assert await sides.of(SPEC) == 64


async def test_a_store_that_is_away_keeps_checks_waiting_and_lease_requests_not():
    files = Files(Unavailable("it is on its way"))
    sides = ModelSides(files)
    assert [await sides.is_known(SPEC) for _ in range(3)] == [False] * 3
    assert files.asked == 1
    with pytest.raises(Unavailable):
        await sides.of(SPEC)


async def test_of_many_who_ask_for_a_config_that_is_slow_to_come_none_waits_for_it(
    config, monkeypatch
):
    monkeypatch.setattr(model_sides, "_PATIENCE", 0.05)
    files, comes = Files(config), asyncio.Event()

    async def slowly(sha256):
        files.asked += 1
        await comes.wait()
        return config

    monkeypatch.setattr(files, "locate", slowly)
    sides = ModelSides(files)
    assert not any(await asyncio.gather(*(sides.is_known(SPEC) for _ in range(20))))
    assert not await sides.is_known(SPEC)
    assert files.asked == 1
    comes.set()
    monkeypatch.setattr(model_sides, "_LOOK_AGAIN", 0)
    async with asyncio.timeout(10):
        while not await sides.is_known(SPEC):  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert files.asked == 1
