"""A model's files, and what may be wrong with them. No torch in here.

ModelError
├── ModelUnavailable  it cannot be had now; try again later
├── ModelUnusable     it will never do; the recipe or the files must change
└── OutOfMemory       this machine is too small for it
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path


class ModelError(Exception):
    """Base: the model cannot score. The message is a sentence for the volunteer."""


class ModelUnavailable(ModelError):
    """Its weights cannot be had now, for want of network."""


class ModelUnusable(ModelError):
    """Its files are not what the recipe says, or no model that can score here."""


class OutOfMemory(ModelError):
    """Not even one picture fits into the device's memory beside it."""


@dataclass(slots=True, frozen=True)
class ModelFiles:
    """Config and weights on this disk."""

    config: Path  #: an open_clip model config, JSON
    weights: Path  #: safetensors


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
