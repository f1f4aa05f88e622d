"""A recipe: the frozen settings of a crawl. Its hash stands in every manifest."""

import hashlib
import json
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .states import SourceKind

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


#: What a recipe may name in `formats`: what the workers of this version decode.
IMAGE_FORMATS: Final = ("jpeg", "png", "webp", "gif", "avif", "bmp", "tiff")

#: Beyond these, somebody mistyped.
_MOST_CHARS: Final = 2**16
_MOST_BYTES: Final = 2**30


class ModelSpec(BaseModel):
    """The CLIP model that scores: open_clip's own weights by name, or files by their hash.

    With `pretrained`, open_clip downloads the weights itself. With the two hashes, the worker
    fetches `GET /v1/files/{sha256}` from the tracker: an open_clip model config (JSON) and its
    weights (safetensors), and refuses bytes that do not have that hash.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: str = Field(default="ViT-B-32", max_length=100)
    pretrained: str | None = Field(default=None, max_length=100)
    config_sha256: Sha256 | None = None
    weights_sha256: Sha256 | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        by_hash = self.config_sha256 is not None and self.weights_sha256 is not None
        if by_hash == (self.pretrained is not None):
            raise ValueError(
                "name either `pretrained`, or both `config_sha256` and `weights_sha256`"
            )
        return self


PRODUCTION_MODEL = ModelSpec(architecture="ViT-B-32", pretrained="laion2b_s34b_b79k")


class Recipe(BaseModel):
    """What becomes a row, and what a row holds.

    The constants are LAION's where LAION had one (LAION-400M and LAION-5B blog posts, and the
    workers that made them): 5 characters of text, 5,000 bytes, 89,478,484 pixels, cosine 0.28 for
    ViT-B/32 on English.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: SourceKind
    model: ModelSpec = PRODUCTION_MODEL
    min_similarity: float = Field(default=0.28, ge=-1, le=1, allow_inf_nan=False)
    min_text_chars: int = Field(default=5, ge=1, le=_MOST_CHARS)
    max_text_chars: int = Field(
        default=2000, ge=1, le=_MOST_CHARS, description="longer texts are cut, not dropped"
    )
    max_url_chars: int = Field(default=2000, ge=16, le=_MOST_CHARS)
    languages: tuple[str, ...] = Field(
        default=(), description="ISO 639-1 codes to keep, 'un' for undetermined; none keeps all"
    )
    honour_opt_out: bool = True
    formats: tuple[str, ...] = ("jpeg", "png", "webp", "gif")
    min_image_bytes: int = Field(default=5_000, ge=0, le=_MOST_BYTES)
    max_image_bytes: int = Field(default=20 * 2**20, ge=1, le=_MOST_BYTES)
    min_side: int = Field(default=64, ge=1, le=2**16, description="pixels")
    max_pixels: int = Field(default=89_478_484, ge=1, le=2**32)
    safety: bool = Field(
        default=True, description="tag NSFW by named prompts and drop by LAION's rule"
    )
    dedupe: bool = Field(default=True, description="ask the tracker which pairs no other shard has")
    embeddings: bool = Field(default=False, description="also write image embeddings, fp16 npy")

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the canonical JSON (sorted keys, no blanks); the recipe's name."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()
