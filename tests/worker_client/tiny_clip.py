"""A CLIP of random weights, 100 kB, made in the test: real open_clip, real files, no network."""

import hashlib
import json
from pathlib import Path
from typing import Any

from laion_protocol import ModelSpec
from worker_client.pipeline.model_files import ModelFiles

CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {
            "image_size": 32, "layers": 1, "width": 16, "patch_size": 16, "head_width": 8,
        },
        "text_cfg": {
            "context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2,
        },
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
}  # fmt: skip


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_tiny_clip(directory: Path) -> tuple[ModelSpec, ModelFiles]:
    """Write config and weights; the spec that names them."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = open_clip.CLIP(**CONFIG["model_cfg"])
    files = ModelFiles(directory / "tiny.json", directory / "tiny.safetensors")
    files.config.write_text(json.dumps(CONFIG))
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, files.weights)
    return spec_of(files), files


def spec_of(files: ModelFiles) -> ModelSpec:
    return ModelSpec(
        architecture="tiny",
        config_sha256=sha256(files.config),
        weights_sha256=sha256(files.weights),
    )
