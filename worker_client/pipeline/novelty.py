"""`Novelty`: drops the pairs that another shard of the project has, before they are downloaded.

Batches are asked for one ahead: while the pairs of one answer are downloaded, the next are read
and asked about. The first batches are small, so that downloads begin at once.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from itertools import chain, repeat
from typing import Final

from laion_protocol import DropReason
from laion_protocol.messages.dedupe import MAX_KEYS
from laion_protocol.pair_key import pair_key
from worker_client.samples import Dropped, Pair

#: Given keys, the promise of an answer: whether each pair is new.
AskNew = Callable[[Sequence[int]], "Future[list[bool]]"]

_FIRST_SIZES: Final = (500, 2_000, 8_000)
#: Items pulled for each one that goes on to the downloads. More than the batches grow by: the next
#: is full, and asked about, before the last one is used up.
_PULLS: Final = 5
#: Seconds between two looks at `stop` while an answer is waited for.
_LOOK: Final = 0.2


class Novelty:
    """One chunk's stage.

    Args:
        ask: whatever it raises, this stage raises.
        stop: once set, the stage ends as if there were no more pairs.
    """

    def __init__(self, ask: AskNew, stop: threading.Event) -> None:
        self._ask = ask
        self._stop = stop

    def sift(self, items: Iterable[Pair | Dropped]) -> Iterator[Pair | Dropped]:
        """Each pair, or that it is known; what was dropped before as it is, sooner."""
        source, sizes = iter(items), chain(_FIRST_SIZES, repeat(MAX_KEYS))
        size, batch, exhausted = next(sizes), list[Pair](), False
        asked: _Asked | None = None
        answered: deque[Pair | Dropped] = deque()
        try:
            while True:
                pulls = 1
                if asked is None and batch and (exhausted or len(batch) >= size):
                    asked = _Asked(batch, self._ask([pair_key(p.url, p.text) for p in batch]))
                    size, batch = next(sizes), []
                elif answered:
                    yield answered.popleft()
                    pulls = _PULLS
                elif asked and (exhausted or len(batch) >= size or asked.answer.done()):
                    if not self._wait(asked.answer):
                        return
                    answered.extend(asked.sifted())
                    asked = None
                elif exhausted:
                    return
                while pulls and not exhausted and len(batch) < size:
                    pulls -= 1
                    item = next(source, None)
                    if item is None:
                        exhausted = True
                    elif isinstance(item, Dropped):
                        yield item
                    else:
                        batch.append(item)
        finally:
            if asked:
                asked.answer.cancel()

    def _wait(self, answer: "Future[list[bool]]") -> bool:
        """Whether it came before `stop`."""
        while not self._stop.is_set():
            try:
                answer.exception(_LOOK)
            except TimeoutError:
                continue
            return True
        return False


class _Asked:
    """Pairs, and whether they are new, once that is known."""

    def __init__(self, pairs: list[Pair], answer: "Future[list[bool]]") -> None:
        self._pairs = pairs
        self.answer = answer

    def sifted(self) -> Iterator[Pair | Dropped]:
        for pair, new in zip(self._pairs, self.answer.result(), strict=True):
            yield pair if new else Dropped(pair, DropReason.KNOWN_PAIR)
