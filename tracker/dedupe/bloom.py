"""`BlockedBloom`: a set of 64-bit keys in a mapped file, that may say yes to a stranger.

Every key belongs to one block of 512 bits, a cache line, and sets one bit in each of the block's
eight words: one memory access a look-up, however large the file (Putze, Sanders, Singler 2007;
with a word for each bit, as in Parquet's filter). The price is a few bits more a key than a Bloom
filter without blocks takes, since some blocks get more keys than others.
"""

import math
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from .shared_file import SharedFile, create

Keys = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]

_MAGIC: Final = int.from_bytes(b"LWBLOOM1", "little")
_WORDS: Final = 8
_BLOCK_BYTES: Final = 64
#: Odd numbers with well spread bits. Keys are bits of a SHA-256 already, but those that are added
#: together may be a sorted slice, whose first bits are the same.
_SPREAD_BLOCK: Final = np.uint64(0x9E3779B97F4A7C15)
_SPREAD_BITS: Final = np.uint64(0xD6E8FEB86659FD93)
_HALF: Final = np.uint64(32)
_SHIFTS: Final = np.arange(0, 6 * _WORDS, 6, dtype=np.uint64)
_ONE: Final = np.uint64(1)
_AT_ONCE: Final = 2**16
#: Blocks that are looked at to tell how full a filter is.
_SAMPLE: Final = 4096
#: The rate is kept in the header in these units.
_RATE_UNIT: Final = 1e-15
_BLOCKS, _CAPACITY, _RATE, _HELD = 1, 2, 3, 4


class BlockedBloom:
    """One filter. Reading needs no lock; writers must exclude each other.

    Raises:
        FileNotFoundError, BrokenFile: there is none.
    """

    def __init__(self, path: Path) -> None:
        self._file = SharedFile(path, _MAGIC)
        self._header = self._file.header
        self._blocks = np.uint64(self._header[_BLOCKS])
        words = self._file.array("<u8", int(self._blocks) * _WORDS)
        self._words = words.reshape(-1, _WORDS)

    @classmethod
    def create(cls, path: Path, capacity: int, rate: float) -> Self:
        """A new, empty one for `capacity` keys; holding them, it says yes to a stranger at `rate`.

        Raises:
            OSError: the disk has no room for it.
        """
        blocks = blocks_for(capacity, rate)
        header = (_MAGIC, blocks, capacity, round(rate / _RATE_UNIT), 0)
        create(path, header, blocks * _BLOCK_BYTES)
        return cls(path)

    @property
    def capacity(self) -> int:
        """Keys that it was made for."""
        return int(self._header[_CAPACITY])

    @property
    def rate(self) -> float:
        """How often it says yes to a stranger when it is full, by design."""
        return int(self._header[_RATE]) * _RATE_UNIT

    @property
    def held(self) -> int:
        """Keys that it holds; one that it took for known is not counted."""
        return int(self._header[_HELD])

    @property
    def bytes(self) -> int:
        """Size of the file without its header."""
        return self._file.size

    def contains(self, keys: Keys) -> Flags:
        """Whether each key was added; yes too often at the stated rate, never no too often."""
        return np.concatenate(
            [self._have(*_places(some, self._blocks)) for some in _slices(keys)] or [_NONE]
        )

    def add(self, keys: Keys) -> int:
        """Add them; how many it did not hold. Adding again changes nothing."""
        added = 0
        for some in _slices(np.unique(keys)):
            block, bits = _places(some, self._blocks)
            added += int(np.count_nonzero(~self._have(block, bits)))
            order = np.argsort(block, kind="stable")
            block, bits = block[order], bits[order]
            starts = np.flatnonzero(np.diff(block, prepend=~block[:1]))
            self._words[block[starts]] |= np.bitwise_or.reduceat(bits, starts, axis=0)
        self._header[_HELD] += np.uint64(added)
        return added

    def rate_now(self) -> float:
        """How often it says yes to a stranger as it is filled, from a sample of its blocks."""
        step = max(1, int(self._blocks) // _SAMPLE)
        sample = np.ascontiguousarray(self._words[::step])
        bits = np.unpackbits(sample.view(np.uint8), axis=1).reshape(-1, _WORDS, 64)
        return float(np.prod(bits.mean(axis=2), axis=1).mean())

    def sync(self) -> None:
        """Return when it is on disk."""
        self._file.sync()

    def _have(self, block: Keys, bits: Keys) -> Flags:
        found: Flags = ((self._words[block] & bits) == bits).all(axis=1)
        return found


def blocks_for(capacity: int, rate: float) -> int:
    """The least number of blocks for that many keys at that rate."""
    if capacity < 1 or not 1e-9 <= rate < 1:
        raise ValueError("a filter needs a capacity from 1 on and a rate from 1e-9 to 1")
    low, high = 0.01, 512.0  # keys a block
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if block_rate(middle) <= rate else (low, middle)
    return max(1, math.ceil(capacity / low))


def block_rate(keys_a_block: float) -> float:
    """How often a filter with so many keys a block on average says yes to a stranger.

    The number of keys in a block is Poisson's; with j keys, a word's bit is set with probability
    1 - (63/64)^j, and all eight must be.
    """
    most = int(keys_a_block + 12 * math.sqrt(keys_a_block) + 40)
    return sum(
        math.exp(j * math.log(keys_a_block) - keys_a_block - math.lgamma(j + 1))
        * (1 - (63 / 64) ** j) ** _WORDS
        for j in range(1, most)
    )


_NONE: Final = np.zeros(0, np.bool_)


def _slices(keys: Keys) -> list[Keys]:
    return [keys[start : start + _AT_ONCE] for start in range(0, len(keys), _AT_ONCE)]


def _places(keys: Keys, blocks: np.uint64) -> tuple[Keys, Keys]:
    """Each key's block, and its bit in each of the block's words."""
    block = (((keys * _SPREAD_BLOCK) >> _HALF) * blocks) >> _HALF
    spread = ((keys ^ (keys >> _HALF)) * _SPREAD_BITS) >> np.uint64(16)
    return block, _ONE << ((spread[:, None] >> _SHIFTS) & np.uint64(63))
