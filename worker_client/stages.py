"""Which stages of a job this machine does: as the volunteer says, or by what it is good for."""

import os
from typing import Final

from laion_protocol import Stage

#: Physical memory that the production model, its batches and the decoders need, bytes.
_MODEL_MEMORY: Final = 3 * 2**30


def stages_of(choice: str) -> tuple[Stage, ...] | None:
    """What the volunteer chose: stages with commas between; None for `auto`.

    Raises:
        ValueError: it is neither; the message says what it may be.
    """
    if choice == "auto":
        return None
    words = [word.strip() for word in choice.split(",")]
    if not set(words) <= set(Stage):
        raise ValueError(
            f"{choice!r} is neither `auto` nor some of {', '.join(Stage)} with commas between"
        )
    return tuple(stage for stage in Stage if stage in words)


def stages_here() -> tuple[Stage, ...]:
    """With a GPU, whole jobs and what others fetched; on a CPU that can hold the model, whole
    jobs, since an intermediate is a hundred times as much to upload as a shard; else fetch only.

    Imports torch, which takes seconds.
    """
    if _memory() < _MODEL_MEMORY:
        return (Stage.FETCH,)
    from .pipeline.score_model import best_device

    if best_device().type == "cpu":
        return (Stage.HYBRID,)
    return (Stage.HYBRID, Stage.SCORE)


def _memory() -> float:
    """Of the whole machine, bytes; infinity where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return float("inf")
