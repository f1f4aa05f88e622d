"""A shard's manifest: its files, what made them, and where every pair went."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from .drops import Damage, DropReason
from .message import Message
from .recipe import Sha256
from .shard_format import FILE_NAME_PATTERN, MAX_FILE_BYTES, MAX_FILES
from .states import Stage

Count = Annotated[int, Field(ge=0, le=2**53)]


class FileEntry(Message):
    """One file of a shard."""

    name: str = Field(pattern=FILE_NAME_PATTERN)
    size: int = Field(ge=0, le=MAX_FILE_BYTES, description="bytes")
    sha256: Sha256


class SourceDigest(Message):
    """The chunk that was read."""

    path: str = Field(max_length=1024)
    part: int = Field(ge=0)
    parts: int = Field(ge=1)
    first_byte: int = Field(ge=0, description="offset of the first record read")
    end_byte: int = Field(ge=0, description="offset just after the last record read")
    pairs_sha256: Sha256 = Field(
        description="order-free digest of the extracted pairs: equal for two honest workers"
    )


class Counts(Message):
    """What went in and what became of it. `kept` + all drops = `pairs`, always."""

    records: Count = 0
    pages: Count = 0
    pairs: Count = 0
    kept: Count = 0
    drops: dict[DropReason, Count] = Field(default_factory=dict)
    damage: dict[Damage, Count] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _balanced(self) -> Self:
        dropped = sum(self.drops.values())
        if self.kept + dropped != self.pairs:
            raise ValueError(f"{self.kept} kept + {dropped} dropped is not {self.pairs} seen")
        return self


class Manifest(Message):
    """All that is needed to check a shard, and to make it again."""

    recipe_sha256: Sha256
    worker_version: str = Field(max_length=64)
    filter_version: str = Field(max_length=64)
    stage: Stage = Field(
        default=Stage.HYBRID,
        description="fetch: the files are an intermediate, `kept` counts its samples; score: the "
        "counts are those of both stages together",
    )
    model_sha256: Sha256 | None = Field(
        default=None, description="of the weights file; None for an intermediate"
    )
    source: SourceDigest
    counts: Counts
    files: tuple[FileEntry, ...] = Field(min_length=1, max_length=MAX_FILES)
    seconds: float = Field(ge=0, description="wall clock from lease to manifest")

    @model_validator(mode="after")
    def _scored(self) -> Self:
        if (self.model_sha256 is None) != (self.stage is Stage.FETCH):
            raise ValueError("`model_sha256` belongs to every stage but fetch")
        return self
