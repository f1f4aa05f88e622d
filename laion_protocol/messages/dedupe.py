"""Which pairs are new to the project: a worker's question, and what an admin sees of it."""

import base64
import sys
from array import array
from collections.abc import Iterable
from typing import Final, Self

from pydantic import AwareDatetime, Field, model_validator

from laion_protocol.message import Message

#: Keys in one question. As base64 of 8 bytes each, a tenth of what a JSON body may have.
MAX_KEYS: Final = 10_000
#: So many pairs without a single new one are no chance: a lost body, or a filter gone wrong.
SUSPICIOUS_FROM: Final = 51


class PairKeys(Message):
    """`POST /v1/leases/{id}/dedupe`: which of these pairs has no other shard?"""

    keys: str = Field(
        max_length=(MAX_KEYS * 8 + 2) // 3 * 4,
        description="base64 of the keys (`pair_key`), little-endian u64 each, at most 10,000",
    )

    @classmethod
    def of(cls, keys: Iterable[int]) -> Self:
        """The question about these keys."""
        packed = array("Q", keys)
        if sys.byteorder == "big":
            packed.byteswap()
        return cls(keys=base64.b64encode(packed.tobytes()).decode())

    def packed(self) -> bytes:
        """The keys, little-endian, eight bytes each."""
        return base64.b64decode(self.keys, validate=True)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        packed = self.packed()  # binascii.Error is a ValueError
        if not packed or len(packed) % 8:
            raise ValueError("keys: send from 1 to 10,000 keys of 8 bytes each")
        return self


class Novelty(Message):
    """The answer. Who asks the same for the same job gets the same answer, until it is accepted."""

    asked: int = Field(ge=0, description="keys that arrived; a body cut short shows here")
    new: int = Field(ge=0)
    bitmap: str = Field(description="base64; bit i (lowest first) is set if key i is new")
    suspicious: bool = Field(
        default=False, description="none is new, of more than 50: ask again before you believe it"
    )

    @classmethod
    def of(cls, new: list[bool]) -> Self:
        """The answer that says this of each key."""
        bits = bytearray((len(new) + 7) // 8)
        for index, is_new in enumerate(new):
            bits[index >> 3] |= is_new << (index & 7)
        count = sum(new)
        return cls(
            asked=len(new),
            new=count,
            bitmap=base64.b64encode(bits).decode(),
            suspicious=not count and len(new) >= SUSPICIOUS_FROM,
        )

    def flags(self) -> list[bool]:
        """Whether each key is new, in the order asked."""
        bits = base64.b64decode(self.bitmap, validate=True)
        return [bool(bits[index >> 3] >> (index & 7) & 1) for index in range(self.asked)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(base64.b64decode(self.bitmap, validate=True)) != (self.asked + 7) // 8:
            raise ValueError("the bitmap has not one bit for each key")
        return self


class FilterState(Message):
    """One Bloom filter of the committed pairs."""

    capacity: int = Field(description="pairs it was made for")
    held: int = Field(description="pairs added")
    bytes: int
    false_positives: float = Field(description="rate when full, by design")
    false_positives_now: float = Field(description="rate as it is filled, counted on a sample")


class DedupeState(Message):
    """`GET /v1/admin/dedupe`: what the machine with the dedupe files knows of the project's
    pairs."""

    at: AwareDatetime = Field(description="when it was so")
    here: bool = Field(description="this tracker's machine has the files, and answers workers")
    ready: bool = Field(description="false until the first rebuild at a machine that took over")
    filters: tuple[FilterState, ...]
    false_positives_now: float = Field(description="of all filters together")
    reservation_slots: int
    reserved: int = Field(description="reservations that have not run out")
    holders: int = Field(description="attempts that have reservations")
    to_commit: int = Field(description="accepted shards, or ones about to be, not yet committed")
    busy: bool = Field(description="pairs are being committed, or the filters rebuilt")
    rebuilt: int = Field(description="shards that a running rebuild has read")
    unreadable: int = Field(description="those of them that told no pairs")
    asked: int = Field(description="keys, since the files were made")
    new: int
    known: int = Field(description="committed by an accepted shard")
    taken: int = Field(description="reserved by another job")
    unreserved: int = Field(description="new, but no reservation was made: no room, or too many")
    suspicious: int = Field(description="questions of more than 50 keys without a new one")
    committed: int = Field(description="keys of accepted shards")
    refused: int = Field(description="questions of leases that took more than any archive has")
    freed: int = Field(description="reservations of attempts that ended")
    elsewhere: int = Field(
        description="shards checked where the files are not; a rebuild makes them known"
    )
