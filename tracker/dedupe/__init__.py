"""Which pairs the project has: committed by accepted shards, or reserved by jobs at work.

Everything here is about one machine: the files are mapped, and all its tracker processes share
them. They err on one side only: a pair may be taken for new that is not (the release dedupes
again), and one new pair in a thousand may be taken for known.
"""

from .dedupe import Dedupe
from .pair_index import PairIndex

__all__ = ["Dedupe", "PairIndex"]
