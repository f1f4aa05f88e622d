"""What a page really holds: the pairs that must be found, and what must become of each."""

from dataclasses import dataclass

from laion_protocol import DropReason

from .resources import Resource


@dataclass(frozen=True, slots=True)
class Truth:
    """One pair as it must be extracted. Without a `fate` it must become a row of the shard.

    A pair is *matching* when its text tells the scene that its picture was drawn from and the
    picture can be had by the rules: exactly those must be kept.
    """

    url: str
    text: str
    fate: DropReason | None = None

    @property
    def matching(self) -> bool:
        """Whether this pair belongs into the dataset."""
        return self.fate is None


@dataclass(frozen=True, slots=True)
class Snippet:
    """A piece of a page: its markup, the truth about it, and what must exist for it to be true.

    `forbidden` are URLs on the web that nobody may ask for: a browser of this markup, or a right
    extraction of it, never would.
    """

    markup: str
    pairs: tuple[Truth, ...] = ()
    wat_pairs: tuple[Truth, ...] | None = None  #: what WAT shows of it; None when it shows the same
    resources: tuple[tuple[str, Resource], ...] = ()
    forbidden: tuple[str, ...] = ()

    @property
    def pairs_in_wat(self) -> tuple[Truth, ...]:
        """The pairs that the WAT file of this page must yield."""
        return self.pairs if self.wat_pairs is None else self.wat_pairs
