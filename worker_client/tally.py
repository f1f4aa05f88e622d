"""`Tally`: what a chunk held and where every pair went."""

from collections import Counter

from laion_protocol import Counts, Damage, DropReason


class Tally:
    """Counts while the pipeline runs; `counts()` refuses to lose a pair."""

    def __init__(self) -> None:
        self.records = 0
        self.pages = 0
        self.pairs = 0
        self.kept = 0
        self.drops: Counter[DropReason] = Counter()
        self.damage: Counter[Damage] = Counter()

    def drop(self, reason: DropReason) -> None:
        """Count one pair that goes no further."""
        self.drops[reason] += 1

    def damaged(self, kind: Damage) -> None:
        """Count one record that could not be read whole."""
        self.damage[kind] += 1

    def counts(self) -> Counts:
        """The counts as the manifest carries them.

        Raises:
            ValueError: kept + dropped is not what was seen; a stage lost a pair.
        """
        return Counts(
            records=self.records,
            pages=self.pages,
            pairs=self.pairs,
            kept=self.kept,
            drops=dict(self.drops),
            damage=dict(self.damage),
        )
