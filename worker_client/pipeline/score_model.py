"""`load`: the recipe's CLIP model, by open_clip's name for it or from files of a known hash.

Weights are read as safetensors and nothing else: a pickle can carry code, and the file comes from
somebody whom the volunteer does not know.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.constants import HF_SAFE_WEIGHTS_NAME
from open_clip.pretrained import download_pretrained_from_hf, get_pretrained_cfg

from laion_protocol import ModelSpec

from .model_files import ModelFiles, ModelUnavailable, ModelUnusable, file_sha256
from .score_text import Tokenizer

#: A model config is a page of JSON.
_MOST_CONFIG_BYTES = 64 * 2**10
#: No layer of an open_clip model is wider, no vocabulary larger.
_MOST_SIZE = 300_000
#: No model of open_clip has more layers in a tower; each costs memory even without weights.
_MOST_LAYERS = 500
#: What open_clip would fetch a tower or a tokenizer for, whatever the value.
_ELSEWHERE = ("timm_", "hf_", "tokenizer_")
#: Bytes in memory for one byte of the weights file, at most: fp16 becomes float32, and the mask of
#: the text tower is in no file.
_MOST_GROWTH = 4
#: Settings of open_clip's own towers that are words, and choose between its own parts.
_WORDS = frozenset({"pool_type", "pos_embed_type", "attn_type", "block_type"})
#: Below this many weights, float32 costs next to nothing, and is exact.
_SMALL_MODEL = 20_000_000


@dataclass(slots=True, frozen=True)
class LoadedModel:
    """A model ready to score, and what its pictures must look like."""

    clip: Any  #: `encode_image`, `encode_text`
    tokenizer: Tokenizer
    image_size: int  #: pixels, both sides
    mean: tuple[float, float, float]  #: of each channel, on a scale of 0 to 1
    std: tuple[float, float, float]
    weights_sha256: str
    device: torch.device
    dtype: torch.dtype  #: what `encode_image` takes


def load(
    spec: ModelSpec, files: ModelFiles | None = None, *, device: str | None = None
) -> LoadedModel:
    """The model of a recipe; by its name, or from `files` when the recipe names hashes.

    Args:
        spec: as the recipe has it.
        files: config and weights on this disk, for a spec with hashes.
        device: "cuda", "mps" or "cpu"; the best there is by default.

    Raises:
        ModelUnavailable: its weights cannot be had now, for want of network.
        ModelUnusable: its files are not what the recipe says, or not a model that can score here.
    """
    if spec.pretrained is not None:
        preprocess = _known(spec.architecture, spec.pretrained)
        weights = _download(spec.architecture, spec.pretrained, preprocess)
        return _build(spec.architecture, weights, file_sha256(weights), preprocess, device)
    if files is None:
        raise ValueError("a model named by hashes needs its files")
    config = _checked_config(files, spec)
    weights_sha256 = file_sha256(files.weights)
    if weights_sha256 != spec.weights_sha256:
        raise ModelUnusable(
            f"{files.weights} has the SHA-256 {weights_sha256}, but the recipe names "
            f"{spec.weights_sha256}; delete it and fetch it again"
        )
    name = f"laion-worker-{spec.config_sha256}"
    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch, f"{name}.json")
        plain.write_text(json.dumps(config.get("model_cfg", config)), encoding="utf-8")
        open_clip.add_model_config(plain)
    _check_memory(name, config.get("model_cfg", config), files)
    return _build(name, files.weights, weights_sha256, config.get("preprocess_cfg", {}), device)


def best_device() -> torch.device:
    """A GPU if torch sees one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def precision(device: torch.device, parameters: int) -> str:
    """open_clip's word for the weights' type that is quickest there, within 0.02 of float32."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if device.type == "cpu" and parameters >= _SMALL_MODEL and _cpu_multiplies_bf16():
        return "bf16"  # 3 x float32's speed where the CPU can, slower than float32 where it cannot
    return "fp32"


def _cpu_multiplies_bf16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return False  # no Linux: float32 is right everywhere
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags)


def _known(architecture: str, tag: str) -> dict[str, Any]:
    known: dict[str, Any] = get_pretrained_cfg(architecture, tag) or {}
    if not known or architecture not in open_clip.list_models():
        raise ModelUnusable(
            f"open_clip {open_clip.__version__} knows no weights {tag!r} of {architecture!r}; "
            "check the recipe's model, or update laion-worker"
        )
    return known


def _download(architecture: str, tag: str, known: dict[str, Any]) -> Path:
    hub = str(known.get("hf_hub") or "")
    if not hub:
        raise ModelUnusable(
            f"the weights {tag!r} of {architecture!r} come as a pickle, which may carry code; "
            "use weights that open_clip has as safetensors"
        )
    try:
        return Path(
            download_pretrained_from_hf(hub.rpartition("/")[0], filename=HF_SAFE_WEIGHTS_NAME)
        )
    except Exception as error:  # the hub's client raises whatever its parts raise
        raise ModelUnavailable(
            f"the weights {tag!r} of {architecture!r} could not be downloaded; check the network "
            "connection, or give files with --model-config and --model-weights"
        ) from error


def _checked_config(files: ModelFiles, spec: ModelSpec) -> dict[str, Any]:
    with files.config.open("rb") as file:
        raw = file.read(_MOST_CONFIG_BYTES + 1)
    if len(raw) > _MOST_CONFIG_BYTES:
        raise ModelUnusable(f"{files.config} is too long for a model config")
    found = hashlib.sha256(raw).hexdigest()
    if found != spec.config_sha256:
        raise ModelUnusable(
            f"{files.config} has the SHA-256 {found}, but the recipe names {spec.config_sha256}; "
            "delete it and fetch it again"
        )
    try:
        config = json.loads(raw)
        towers = config.get("model_cfg", config)
        parts = {"vision_cfg": towers["vision_cfg"], "text_cfg": towers["text_cfg"]}
        parts |= {name: part for name, part in towers.items() if isinstance(part, dict)}
        checked = {name: dict(part) for name, part in parts.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelUnusable(f"{files.config} is not an open_clip model config (JSON)") from error
    for name, tower in checked.items():
        _check_tower(files.config, name, tower)
    return dict(config)


def _check_tower(config: Path, name: str, tower: dict[str, Any]) -> None:
    """Let through what only sizes layers. Any other word may make open_clip fetch a tower or open
    a tokenizer file whose hash nobody checked (timm_…, hf_…, tokenizer_kwargs)."""
    for key, value in tower.items():
        sizes = value if isinstance(value, list) else [value]
        known = not key.startswith(_ELSEWHERE)
        if known and (
            key in _WORDS or all(size is None or isinstance(size, int | float) for size in sizes)
        ):
            numbers = [abs(size) for size in sizes if isinstance(size, int | float)]
            most = _MOST_LAYERS if key == "layers" else _MOST_SIZE
            if sum(numbers) <= most:
                continue
            raise ModelUnusable(
                f"{config} asks for {name}.{key} = {value}, more than any model has"
            )
        raise ModelUnusable(
            f"{config} names {name}.{key}; only models that open_clip builds itself are used"
        )


@contextmanager
def _fitting(name: str, weights: Path) -> Iterator[None]:
    """Says in words what a wrong model makes open_clip raise."""
    try:
        yield
    except (OSError, ImportError, MemoryError):
        raise  # of this machine, not of the model
    except Exception as error:  # whatever a wrong config or weights file sets off
        raise ModelUnusable(
            f"{weights} does not fit the model {name!r} ({type(error).__name__}); "
            "check that config and weights belong together"
        ) from error


def _check_memory(name: str, towers: dict[str, Any], files: ModelFiles) -> None:
    """Build the model without memory, and refuse one that its own weights file could not fill.

    Its memory is otherwise what a page of JSON asks for.
    """
    # The computed positions are the one thing that is made outside of torch; as large as learnt.
    vision = {**towers["vision_cfg"], "pos_embed_type": "learnable"}
    with _fitting(name, files.weights), torch.device("meta"):
        hollow: Any = open_clip.create_model(
            name, load_weights=False, pretrained_text=False, device="meta", vision_cfg=vision
        )
        tensors = [*hollow.parameters(), *hollow.buffers()]
    needed, there = 4 * sum(tensor.numel() for tensor in tensors), files.weights.stat().st_size
    if needed > _MOST_GROWTH * there:
        raise ModelUnusable(
            f"{files.weights} does not fit the model {name!r}, that takes {needed} bytes of "
            f"memory and has a file of {there}; check that config and weights belong together"
        )


def _build(
    name: str, weights: Path, weights_sha256: str, preprocess: dict[str, Any], device: str | None
) -> LoadedModel:
    where = torch.device(device) if device else best_device()
    kind = precision(where, weights.stat().st_size // 4)
    with _fitting(name, weights):
        clip: Any = open_clip.create_model(
            name,
            pretrained=str(weights),
            precision=kind,
            device=where,
            force_quick_gelu=bool(preprocess.get("quick_gelu", False)),
            force_preprocess_cfg=preprocess,
            pretrained_text=False,
            require_pretrained=True,  # else it would go on with random weights
        )
        tokenizer = open_clip.get_tokenizer(name)
    shape = open_clip.get_model_preprocess_cfg(clip)
    return LoadedModel(
        clip=clip.eval(),
        tokenizer=tokenizer,
        image_size=_square(shape, name),
        mean=tuple(shape["mean"]),
        std=tuple(shape["std"]),
        weights_sha256=weights_sha256,
        device=where,
        dtype=open_clip.get_input_dtype(kind) or torch.float32,
    )


def _square(shape: dict[str, Any], name: str) -> int:
    size = shape["size"]
    sides = {size} if isinstance(size, int) else set(size)
    plain = shape.get("interpolation") == "bicubic" and shape.get("resize_mode") == "shortest"
    if len(sides) != 1 or not plain:
        raise ModelUnusable(
            f"the model {name!r} wants its pictures prepared in a way that this version cannot "
            "(not bicubic to the shortest side, or not square); update laion-worker"
        )
    return int(sides.pop())
