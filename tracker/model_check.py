"""Is that a model? As far as can be told without torch: a crawl with none helps nobody."""

import ast
import json
import struct
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

#: The header of safetensors says where each tensor lies; that of a large model has some 200 KB.
_MAX_HEADER: Final = 100 * 2**20
_MAX_CONFIG: Final = 2**20
_CONFIG_KEYS: Final = ("embed_dim", "vision_cfg", "text_cfg")


class NoModel(Exception):
    """The file, or the name, is no model's; the message says why."""


def check_config(path: Path) -> None:
    """Refuse what is no model config of open_clip.

    Raises:
        NoModel: it is none.
    """
    try:
        with path.open("rb") as file:
            config = json.loads(file.read(_MAX_CONFIG))
    except (ValueError, RecursionError) as error:
        raise NoModel(f"{path} is no JSON") from error
    except OSError as error:
        raise NoModel(f"{path} cannot be read: {error}") from error
    inner = config.get("model_cfg", config) if isinstance(config, dict) else None
    missing = [key for key in _CONFIG_KEYS if not isinstance(inner, dict) or key not in inner]
    if missing:
        raise NoModel(f"{path} is no model config of open_clip: it has no {missing[0]}")


def check_weights(path: Path) -> None:
    """Refuse what is no safetensors file, or is cut off.

    Raises:
        NoModel: it is none.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
            if not 2 <= length <= min(_MAX_HEADER, size - 8):
                raise NoModel(f"{path} is no safetensors file")
            header = json.loads(file.read(length))
        ends = [_end(tensor) for name, tensor in header.items() if name != "__metadata__"]
    except OSError as error:
        raise NoModel(f"{path} cannot be read: {error}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise NoModel(f"{path} is no safetensors file") from error
    if not ends:
        raise NoModel(f"{path} holds no tensor")
    if max(ends) != size - 8 - length:
        raise NoModel(
            f"{path} is cut off, or too long: its tensors end at byte {8 + length + max(ends)}, "
            f"the file at {size}"
        )


def check_pretrained(architecture: str, pretrained: str) -> bool:
    """Refuse weights that open_clip has no name for; False if nobody can tell here.

    open_clip is not needed on the tracker's machine. Where it is installed, its list is read, and
    not imported: that would load torch.

    Raises:
        NoModel: open_clip knows no such model, or no such weights of it.
    """
    known = _known()
    if known is None:
        return False
    tags = known.get(architecture) or known.get(architecture.removesuffix("-quickgelu"))
    if tags is None:
        raise NoModel(f"open_clip has no weights for the architecture {architecture!r}")
    if not tags:
        return False
    if _plain(pretrained) not in map(_plain, tags):
        raise NoModel(
            f"open_clip has no weights {pretrained!r} of {architecture}; it has {', '.join(tags)}"
        )
    return True


def _end(tensor: dict[str, Any]) -> int:
    start, end = tensor["data_offsets"]
    if not 0 <= start <= end or not isinstance(tensor["dtype"], str):
        raise ValueError("no tensor lies there")
    return int(end)


def _plain(name: str) -> str:
    """open_clip takes a name in any case, with dashes or underscores."""
    return name.lower().replace("-", "_")


def _known() -> dict[str, tuple[str, ...]] | None:
    """Architecture -> names of weights, from open_clip's source; None if it is not there, or is
    not written as we know it."""
    spec = find_spec("open_clip")
    if spec is None or spec.origin is None:
        return None
    try:
        source = (Path(spec.origin).parent / "pretrained.py").read_text(encoding="utf-8")
        tree = ast.parse(source)
    except (OSError, ValueError, SyntaxError):
        return None
    lists: dict[str, tuple[str, ...]] = {}
    models: dict[str, tuple[str, ...]] = {}
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="_PRETRAINED")], value=ast.Dict(keys, values)):
                for key, value in zip(keys, values, strict=True):
                    if isinstance(key, ast.Constant) and isinstance(value, ast.Name):
                        models[str(key.value)] = lists.get(value.id, ())
                    elif isinstance(key, ast.Constant):
                        models[str(key.value)] = _names(value)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                lists[name] = _names(value)
    return models or None


def _names(value: ast.expr) -> tuple[str, ...]:
    """The keys of `dict(a=…)` or `{"a": …}`; none if they cannot all be told."""
    match value:
        case ast.Call(func=ast.Name(id="dict"), keywords=keywords):
            names = tuple(word.arg for word in keywords if word.arg)
            return names if len(names) == len(keywords) else ()  # `**` hides some
        case ast.Dict(keys=keys):
            return tuple(str(key.value) for key in keys if isinstance(key, ast.Constant))
    return ()
