"""How large a model's picture is, told without torch as open_clip tells it."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from laion_protocol import PRODUCTION_MODEL, ModelSpec
from laion_protocol.model_input import NAMED_SIDES, input_side

BY_HASH = ModelSpec(architecture="x", config_sha256="0" * 64, weights_sha256="1" * 64)


def test_every_named_side_is_open_clips_own() -> None:
    (root,) = find_spec("open_clip").submodule_search_locations
    for name, side in NAMED_SIDES.items():
        config = json.loads((Path(root) / "model_configs" / f"{name}.json").read_text())
        assert config["vision_cfg"].get("image_size", 224) == side, name
    assert input_side(PRODUCTION_MODEL) == 224
    assert input_side(ModelSpec(architecture="unheard-of", pretrained="x")) is None


@pytest.mark.parametrize(
    ("size", "side"),
    [(32, 32), ([64, 64], 64), ([64, 32], None), ("224", None), (0, None), (10**9, None)],
)
def test_a_model_of_files_tells_it_in_its_config(size: object, side: int | None) -> None:
    towers = {"vision_cfg": {"image_size": size}}
    assert input_side(BY_HASH, json.dumps(towers).encode()) == side
    assert input_side(BY_HASH, json.dumps({"model_cfg": towers}).encode()) == side


@pytest.mark.parametrize(
    "config", [None, b"", b"[]", b"{", b'"x"', b'{"model_cfg": 1}', b"[" * 9999]
)
def test_a_config_that_is_none_tells_nothing(config: bytes | None) -> None:
    assert input_side(BY_HASH, config) is None
