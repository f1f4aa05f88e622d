"""`Result`: the truth beside what the accepted shards say."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from laion_protocol import DropReason, Manifest
from laion_protocol.messages import CrawlStats
from laion_protocol.shard_format import SHARD_FILE

from .site import expected_drops
from .truth import Truth

Key = tuple[str, str]  #: URL and text

LEAST_PRECISION = 0.95
LEAST_RECALL = 0.90


@dataclass(frozen=True, slots=True)
class CrawlResult:
    """One crawl: what its pages hold, what the tracker counted, and what lies in its store."""

    name: str
    stats: CrawlStats
    truth: tuple[Truth, ...]
    shards_of: dict[str, int]  #: job → accepted shards of it
    pairs: int
    drops: Counter[DropReason]
    rows: Counter[Key]

    @property
    def lost(self) -> int:
        """Jobs without a shard."""
        return self.stats.jobs.total - len(self.shards_of)

    @property
    def duplicated(self) -> int:
        """Shards that a job has beyond its one, and rows that stand in the crawl twice."""
        shards = sum(count - 1 for count in self.shards_of.values())
        return shards + sum(count - 1 for count in self.rows.values())

    @property
    def kept(self) -> int:
        """Rows of all shards."""
        return self.rows.total()

    @property
    def matching(self) -> Counter[Key]:
        """What should have been kept."""
        return Counter((pair.url, pair.text) for pair in self.truth if pair.matching)

    @property
    def right(self) -> int:
        """Rows that should be there."""
        return (self.rows & self.matching).total()


def read_crawl(stats: CrawlStats, truth: Iterable[Truth], shards: Path) -> CrawlResult:
    """Read what the tracker's store, at `shards`, holds of a crawl.

    Raises:
        OSError: a shard that the tracker counts cannot be read.
    """
    shards_of: Counter[str] = Counter()
    drops: Counter[DropReason] = Counter()
    rows: Counter[Key] = Counter()
    pairs = 0
    for path in sorted((shards / stats.name).glob("*/*/manifest.json")):
        manifest = Manifest.model_validate_json(path.read_bytes())
        shards_of[path.parent.parent.name] += 1
        pairs += manifest.counts.pairs
        drops.update(manifest.counts.drops)
        table = pq.read_table(path.with_name(SHARD_FILE), columns=["URL", "TEXT"])
        rows.update((str(row["URL"]), str(row["TEXT"])) for row in table.to_pylist())
    return CrawlResult(stats.name, stats, tuple(truth), shards_of, pairs, drops, rows)


@dataclass(frozen=True, slots=True)
class Result:
    """The whole demo."""

    crawls: tuple[CrawlResult, ...]
    reassigned: int
    forbidden_requests: int
    seconds: float

    def as_json(self) -> dict[str, int | float]:
        """The figures of the last line."""
        return {
            "jobs": sum(crawl.stats.jobs.total for crawl in self.crawls),
            "attempts": sum(crawl.stats.attempts for crawl in self.crawls),
            "accepted": sum(crawl.stats.jobs.accepted for crawl in self.crawls),
            "dead": sum(crawl.stats.jobs.dead for crawl in self.crawls),
            "lost": sum(crawl.lost for crawl in self.crawls),
            "duplicated": sum(crawl.duplicated for crawl in self.crawls),
            "reassigned": self.reassigned,
            "pairs_expected": len(self.truth),
            "pairs_extracted": self.pairs,
            "kept": self.kept,
            "precision": round(self.precision, 4),
            "recall": round(self.recall, 4),
            "forbidden_requests": self.forbidden_requests,
            "seconds": round(self.seconds, 1),
        }

    @property
    def truth(self) -> tuple[Truth, ...]:
        """Every pair that had to be extracted."""
        return tuple(pair for crawl in self.crawls for pair in crawl.truth)

    @property
    def expected_drops(self) -> Counter[DropReason]:
        """What had to be dropped, by reason."""
        return expected_drops(self.truth)

    @property
    def drops(self) -> Counter[DropReason]:
        """What was dropped, by reason."""
        return sum((crawl.drops for crawl in self.crawls), Counter[DropReason]())

    @property
    def pairs(self) -> int:
        """What was extracted."""
        return sum(crawl.pairs for crawl in self.crawls)

    @property
    def kept(self) -> int:
        """Rows of all accepted shards."""
        return sum(crawl.kept for crawl in self.crawls)

    @property
    def precision(self) -> float:
        """Share of the rows whose text tells their picture."""
        return sum(crawl.right for crawl in self.crawls) / max(1, self.kept)

    @property
    def recall(self) -> float:
        """Share of the matching pairs that became rows."""
        matching = sum(crawl.matching.total() for crawl in self.crawls)
        return sum(crawl.right for crawl in self.crawls) / max(1, matching)

    def faults(self) -> list[str]:
        """One sentence for everything that must hold and does not."""
        figures = self.as_json()
        jobs = figures["jobs"]
        checks = (
            (figures["accepted"] == jobs, f"{figures['accepted']} of {jobs} jobs were accepted"),
            (figures["dead"] == 0, f"{figures['dead']} jobs are dead"),
            (figures["lost"] == 0, f"{figures['lost']} jobs have no shard in the store"),
            (figures["duplicated"] == 0, f"{figures['duplicated']} shards or rows stand twice"),
            (self.reassigned >= 1, "the killed worker's job was not done by the other one"),
            (
                self.pairs == len(self.truth),
                f"{self.pairs} pairs were extracted; the pages hold {len(self.truth)}",
            ),
            (
                self.precision >= LEAST_PRECISION,
                f"precision is {self.precision:.3f}, under {LEAST_PRECISION}",
            ),
            (self.recall >= LEAST_RECALL, f"recall is {self.recall:.3f}, under {LEAST_RECALL}"),
            (
                self.forbidden_requests == 0,
                f"{self.forbidden_requests} requests went where none may go",
            ),
        )
        return [sentence for holds, sentence in checks if not holds]
