"""The pictures of an intermediate: plain webdataset tars of `<SAMPLE_ID, 19 digits>.webp`.

Every tool reads them. They are read here byte by byte as they are written here, and whatever
differs is refused, because they come from strangers: no links, no long names, no sparse files,
nothing hidden between two pictures.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO, Final

#: What follows the last picture.
END: Final = bytes(1024)

_BLOCK: Final = 512
#: Beyond four bytes a pixel: what a header and code tables take.
_OVERHEAD: Final = 4096
_NAME: Final = re.compile(rb"([0-9]{19})\.webp\0")
_SIZE: Final = re.compile(rb"[0-7]{11}\0")
_SIZE_AT: Final = slice(124, 136)
_CHECKSUM_AT: Final = slice(148, 156)


class NotPictures(Exception):
    """The tar is not one that a worker writes; the message says where it differs."""


def most_bytes(side: int) -> int:
    """No picture of `side` pixels is longer, even if it is noise."""
    return side * side * 4 + _OVERHEAD


def packed(sample_id: int, picture: bytes) -> bytes:
    """One member of the tar, whole blocks."""
    return b"".join(
        (_header(sample_id, len(picture)), picture, bytes(-len(picture) % _BLOCK)),
    )


def read_pictures(file: BinaryIO, *, most: int) -> Iterator[tuple[int, bytes]]:
    """`(SAMPLE_ID, picture)` of each member; none is longer than `most` bytes.

    Raises:
        NotPictures: anything but such members, up to the last byte.
    """
    number = 0
    while any(header := file.read(_BLOCK)):
        number += 1
        name, size = _NAME.match(header), _SIZE.fullmatch(header[_SIZE_AT])
        if name is None or size is None:
            raise NotPictures(f"member {number} is not a picture of an intermediate")
        sample_id, length = int(name[1]), int(size[0][:-1], 8)
        if header != _header(sample_id, length):
            raise NotPictures(f"the header of member {number} is not that of a plain file")
        if length > most:
            raise NotPictures(f"member {number} is over {most} bytes long")
        picture, padding = file.read(length), file.read(-length % _BLOCK)
        if len(picture) < length or padding != bytes(-length % _BLOCK):
            raise NotPictures(f"member {number} is cut short, or not padded with zeros")
        yield sample_id, picture
    if header + file.read(len(END)) != END:
        raise NotPictures("it does not end as a tar does")


def _header(sample_id: int, size: int) -> bytes:
    """POSIX ustar: an ordinary file of nobody's, from 1970."""
    zero = b"0000000\0"
    before = b"%019d.webp" % sample_id
    before = before.ljust(100, b"\0") + b"0000644\0" + zero + zero
    before += b"%011o\0" % size + b"%011o\0" % 0
    after = b"0".ljust(101, b"\0") + b"ustar\x0000" + bytes(64) + zero + zero + bytes(167)
    checksum = sum(before) + sum(b" " * 8) + sum(after)
    return before + b"%06o\0 " % checksum + after
