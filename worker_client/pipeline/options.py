"""`ChainOptions`: what the volunteer's machine decides about a run of the pipeline."""

from dataclasses import dataclass
from datetime import timedelta

from .download_settings import Endpoint
from .novelty import AskNew
from .source_guard import SourceGuard


@dataclass(slots=True, frozen=True)
class ChainOptions:
    """What the volunteer's machine decides; the recipe decides the rest."""

    user_agent: str  #: sent to the archive's server and to every image's
    decode_processes: int = 2
    batch_size: int | None = None  #: pictures in one forward pass; by device if None
    keep_all: bool = False  #: keep what the score stage would drop; never set for a tracker's job
    allow_private: frozenset[Endpoint] = frozenset()  #: for tests and the demo
    connect_to: tuple[str, int] | None = None  #: reach every image host here instead
    source_patience: timedelta = timedelta(minutes=30)  #: without a byte of the archive
    source_guard: SourceGuard | None = None  #: for a chunk that a tracker named
    ask_new: AskNew | None = None  #: which pairs no other shard has; no tracker, nobody to ask
