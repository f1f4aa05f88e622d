"""Is an intermediate what its manifest says, and is the shard that was made of it?"""

import hashlib
import io
import json
import struct
from pathlib import Path
from typing import Any, Final

from laion_protocol.drops import DropReason
from laion_protocol.manifest import Manifest
from laion_protocol.picture_tar import NotPictures, most_bytes, read_pictures
from laion_protocol.recipe import Recipe
from laion_protocol.shard_format import FETCHED_COLUMNS
from tracker.row_check import Invalid, check_rows

#: Why a picture that was fetched may yet be dropped: by its score, or by a decoder that gave up.
_LATER: Final = frozenset(
    {
        DropReason.SIMILARITY,
        DropReason.UNSAFE,
        DropReason.BROKEN_IMAGE,
        DropReason.DECODE_LIMIT,
    }
)
#: RIFF, length, WEBP; VP8L, length; signature, and 14 + 14 + 1 + 3 bits of sides, alpha, version.
_HEAD: Final = struct.Struct("<4sI4s4sIBI")
_VP8L: Final = 0x2F


def check_intermediate(
    rows: list[Path], tars: list[Path], kept: int, recipe: Recipe, side: int | None
) -> None:
    """Each row as in a shard, each with one picture of the model's size that can be decoded.

    Raises:
        Invalid: the first thing that is wrong.
    """
    if side is None:
        raise Invalid("this crawl's model does not tell how large its pictures are")
    missing: set[int] = set()
    check_rows(rows, FETCHED_COLUMNS, kept, recipe, lambda row: missing.add(row["SAMPLE_ID"]))
    if len(missing) != kept:
        raise Invalid("two rows have the same SAMPLE_ID")
    number = 0
    for path in tars:
        with path.open("rb") as file:
            try:
                for sample_id, picture in read_pictures(file, most=most_bytes(side)):
                    number += 1
                    if sample_id not in missing:
                        raise Invalid(f"picture {number} belongs to no row, or was there before")
                    missing.remove(sample_id)
                    _check_picture(picture, side, number)
            except NotPictures as error:
                raise Invalid(f"{path.name}: {error}") from error
    if missing:
        raise Invalid(f"{len(missing)} rows have no picture")


def check_continues(fetched: Manifest, scored: Manifest) -> None:
    """The score stage saw the pairs that the fetch stage saw, and dropped more of them.

    Raises:
        Invalid: they differ in what no score stage changes.
    """
    if scored.source != fetched.source:
        raise Invalid("the score stage tells of another chunk, or other pairs, than was fetched")
    if scored.filter_version != fetched.filter_version:
        raise Invalid("the score stage names another filter version than the fetch stage")
    before, after = fetched.counts, scored.counts
    if (after.records, after.pages, after.pairs, after.damage) != (
        before.records, before.pages, before.pairs, before.damage,
    ):  # fmt: skip
        raise Invalid("the score stage counts other records, pages or pairs than were fetched")
    for reason in DropReason:
        more = after.drops.get(reason, 0) - before.drops.get(reason, 0)
        if more < 0 or (more and reason not in _LATER):
            raise Invalid(f"the score stage changes how many pairs were dropped for {reason}")


class FetchedRows:
    """The rows of an accepted intermediate, for the shard's rows to be found among."""

    def __init__(self, paths: list[Path], kept: int, recipe: Recipe) -> None:
        self._seen: set[bytes] = set()
        self._row = 0
        check_rows(paths, FETCHED_COLUMNS, kept, recipe, lambda row: self._seen.add(_digest(row)))

    def expect(self, row: dict[str, Any]) -> None:
        """Raises `Invalid` if the fetch stage handed in no such row."""
        self._row += 1
        if _digest(row) not in self._seen:
            raise Invalid(f"row {self._row}: it is not one that was fetched")


def _digest(row: dict[str, Any]) -> bytes:
    values = json.dumps([row[name] for name in FETCHED_COLUMNS])
    return hashlib.blake2b(values.encode(), digest_size=16).digest()


def _check_picture(body: bytes, side: int, number: int) -> None:
    """Lossless WebP of that size, in colour, that decodes; nothing beside it in the file."""
    if not _is_plain(body, side):
        raise Invalid(f"picture {number} is not plain lossless WebP of {side} x {side} pixels")
    from PIL import Image

    try:
        with Image.open(io.BytesIO(body), formats=["WEBP"]) as image:
            image.load()
            right = image.size == (side, side) and image.mode == "RGB"
    except Exception as error:  # a stranger's picture may break Pillow in any way
        raise Invalid(f"picture {number} cannot be decoded") from error
    if not right:
        raise Invalid(f"picture {number} decodes to something else than it tells")


def _is_plain(body: bytes, side: int) -> bool:
    """By its header: one chunk, no metadata, no animation, nothing after the end."""
    if len(body) < _HEAD.size:
        return False
    riff, whole, webp, kind, length, signature, bits = _HEAD.unpack_from(body)
    sides = (side - 1) | (side - 1) << 14  # and no alpha, and version 0
    return (riff, webp, kind, signature, bits) == (b"RIFF", b"WEBP", b"VP8L", _VP8L, sides) and (
        (whole, length + length % 2) == (len(body) - 8, len(body) - 20)
    )
