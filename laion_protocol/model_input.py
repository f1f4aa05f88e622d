"""`input_side`: how large the pictures are that a model looks at, told without loading it.

A fetch stage resizes to it without torch, and the tracker holds every picture to it.
"""

import json
from typing import Any, Final

from .recipe import ModelSpec

#: Architectures of open_clip whose weights come as safetensors and whose pictures are prepared as
#: we do it; a test holds them to open_clip's own configs.
_SIDES: Final = {
    224: (
        "ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-H-14", "ViT-g-14", "ViT-bigG-14",
        "ViT-B-32-quickgelu", "ViT-B-16-quickgelu", "ViT-L-14-quickgelu", "ViT-H-14-quickgelu",
        "ViT-bigG-14-quickgelu", "roberta-ViT-B-32", "xlm-roberta-base-ViT-B-32",
        "xlm-roberta-large-ViT-H-14", "coca_ViT-B-32", "coca_ViT-L-14", "convnext_base",
        "RN50", "RN101", "EVA02-B-16", "EVA02-L-14",
    ),
    240: ("ViT-B-16-plus-240",),
    256: ("ViT-B-32-256", "convnext_base_w", "convnext_large_d", "convnext_xxlarge"),
    320: ("convnext_base_w_320", "convnext_large_d_320"),
    336: ("ViT-L-14-336", "ViT-L-14-336-quickgelu", "EVA02-L-14-336"),
}  # fmt: skip
NAMED_SIDES: Final = {name: side for side, names in _SIDES.items() for name in names}
_MOST: Final = 1024


def input_side(spec: ModelSpec, config: bytes | None = None) -> int | None:
    """The side of the square picture that the model takes, pixels; None when it cannot be told.

    Args:
        spec: as the recipe has it.
        config: the file `config_sha256`, for a model that is named by hashes.
    """
    if spec.pretrained is not None:
        return NAMED_SIDES.get(spec.architecture)
    try:
        parsed: Any = json.loads(config or b"")
        side = parsed.get("model_cfg", parsed)["vision_cfg"]["image_size"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if isinstance(side, list) and len(side) == 2 and side[0] == side[1]:
        side = side[0]
    return side if isinstance(side, int) and 1 <= side <= _MOST else None
