"""`Permutation`: the seeded order in which a crawl's jobs are handed out.

A balanced Feistel network over the smallest square of a power of two that holds [0, size), with
cycle walking: a value outside [0, size) is permuted again until it falls inside (J. Black and P.
Rogaway, "Ciphers with Arbitrary Finite Domains", 2002). It needs no memory and has an inverse.
The order only has to spread neighbours (their files overlap and hit the same hosts); it keeps no
secret, so four rounds of a multiplicative mix are plenty.

`lua/_permutation.lua` is the same, number by number. All products stay below 2**53, since Lua
counts in doubles.
"""

from dataclasses import dataclass
from typing import Final

ROUNDS: Final = 4
#: odd 32-bit multipliers: 2**32 / golden ratio, and those of MurmurHash3's finalizer
_GOLDEN: Final = 0x9E3779B1
_MURMUR_1: Final = 0x85EBCA6B
_MURMUR_2: Final = 0xC2B2AE35
_WORD: Final = 2**32


@dataclass(slots=True, frozen=True)
class Permutation:
    """A bijection of [0, size), chosen by `seed`."""

    size: int  #: 1 to 2**32
    seed: int  #: 0 to 2**31 - 1

    def __getitem__(self, position: int) -> int:
        """The value at `position`: which job is handed out at that turn."""
        half = _half(self.size)
        value = position
        while True:
            left, right = divmod(value, half)
            for number in range(ROUNDS):
                left, right = right, left ^ _round(right, self.seed, number) % half
            value = left * half + right
            if value < self.size:
                return value

    def position(self, value: int) -> int:
        """The inverse: at which turn a job is handed out."""
        half = _half(self.size)
        while True:
            left, right = divmod(value, half)
            for number in reversed(range(ROUNDS)):
                left, right = right ^ _round(left, self.seed, number) % half, left
            value = left * half + right
            if value < self.size:
                return value


def _half(size: int) -> int:
    """The side of the square: the least power of two, at least 2, whose square holds `size`."""
    half = 2
    while half * half < size:
        half *= 2
    return half


def _round(value: int, seed: int, number: int) -> int:
    """16 well mixed bits of `value` (at most 16 bits), one function for each seed and round."""
    key = (seed % 65536 * _GOLDEN + seed // 65536 * _MURMUR_1 + (number + 1) * _MURMUR_2) % _WORD
    mixed = (value * _GOLDEN + key) % _WORD
    mixed ^= mixed >> 15
    mixed = (mixed % 65536 * _MURMUR_1 + mixed // 65536 * _MURMUR_2) % _WORD
    return mixed >> 16
