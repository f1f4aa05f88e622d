"""What the worker and its decoder process say to each other over stdin and stdout.

Plain structs, no pickle: a decoder that a hostile picture has taken over can send wrong numbers,
but nothing that the worker would execute.

    worker  -> decoder   argv[1]: Rules as JSON, then per picture: u32 length, that many bytes
    decoder -> worker    u8 Guards at the start, then per picture: an `Answer`, and if it is KEPT
                         size * size * 3 bytes of RGB
"""

import json
import struct
from dataclasses import asdict, dataclass
from enum import IntEnum, IntFlag
from typing import Final, Self

LENGTH: Final = struct.Struct("<I")
GUARDS: Final = struct.Struct("<B")
_ANSWER: Final = struct.Struct("<BBII16s32s")
ANSWER_BYTES: Final = _ANSWER.size


class Verdict(IntEnum):
    """What became of a picture; all but KEPT are named as in `DropReason`."""

    KEPT = 0
    NOT_AN_IMAGE = 1
    FORMAT_REFUSED = 2
    TOO_MANY_PIXELS = 3
    TOO_SMALL = 4
    BROKEN_IMAGE = 5
    DECODE_LIMIT = 6


class Guards(IntFlag):
    """What the operating system holds the decoder to; which of them, differs between systems."""

    NONE = 0
    LIMITS = 1  #: memory, processor time, no core dump, no growing file
    NO_DESCRIPTORS = 2  #: no file, socket or pipe can be opened any more
    NO_NEW_PRIVILEGES = 4  #: no set-uid program gives it more rights
    LANDLOCK = 8  #: Linux: no path can be opened, from ABI 4 on no TCP connection made


@dataclass(frozen=True, slots=True)
class Rules:
    """What a decoder is told at its start."""

    size: int  #: side of the model's picture, pixels
    formats: tuple[str, ...]  #: names out of `picture.FORMATS`
    max_pixels: int
    min_side: int
    memory: int  #: bytes of address space
    seconds: float  #: processor time of one picture

    def to_json(self) -> str:
        """For the command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        values = json.loads(text)
        return cls(**{**values, "formats": tuple(values["formats"])})


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of an answer."""

    verdict: Verdict
    format: int = 0  #: place in the rules' formats
    width: int = 0  #: as stored, pixels
    height: int = 0
    md5: bytes = bytes(16)
    sha256: bytes = bytes(32)

    def pack(self) -> bytes:
        """`ANSWER_BYTES` bytes."""
        return _ANSWER.pack(
            self.verdict, self.format, self.width, self.height, self.md5, self.sha256
        )

    @classmethod
    def unpack(cls, data: bytes | bytearray) -> Self:
        """Read what `pack` wrote.

        Raises:
            ValueError: no such verdict.
        """
        verdict, *rest = _ANSWER.unpack(data)
        return cls(Verdict(verdict), *rest)
