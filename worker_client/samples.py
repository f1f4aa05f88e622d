"""What flows through the pipeline: a pair becomes a fetched, then a decoded image, then a sample.

Each stage takes an iterable and yields the next thing, or a `Dropped` with its reason; a stage
passes on what an earlier stage dropped, so that nothing vanishes uncounted.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from laion_protocol import DropReason


@dataclass(slots=True, frozen=True)
class Pair:
    """Image URL and text, as found on a page; nothing is fetched yet."""

    url: str  #: absolute http(s) URL, without a fragment
    text: str  #: white space folded
    page_url: str
    license: str = ""  #: a Creative Commons licence URL found anywhere on the page
    source: str = "img"  #: where on the page: img, srcset, lazy, picture
    language: str = "un"  #: ISO 639-1, set by the screen


@dataclass(slots=True, frozen=True)
class Dropped:
    """A pair that goes no further, and why."""

    pair: Pair
    reason: DropReason


@dataclass(slots=True, frozen=True)
class Fetched:
    """A pair with the bytes that its URL gave."""

    pair: Pair
    body: bytes


@dataclass(slots=True, frozen=True)
class Decoded:
    """A pair with its picture, resized and cropped as the model wants it."""

    pair: Pair
    pixels: npt.NDArray[np.uint8]  #: (size, size, 3), RGB
    width: int  #: of the original, pixels, as stored: like open_clip, blind to EXIF orientation
    height: int
    mime: str  #: by the bytes
    bytes: int  #: length of the original
    md5: str  #: of the original bytes, hex
    sha256: str


@dataclass(slots=True, frozen=True)
class Sample:
    """A scored picture, ready to be a row."""

    decoded: Decoded
    similarity: float  #: cosine of image and text embedding
    nsfw: str  #: UNLIKELY, UNSURE, NSFW, or UNTAGGED without the safety stage
    embedding: npt.NDArray[np.float16] | None = None  #: (dim,), L2-normalised
