"""`sniff`: which kind of picture some bytes claim to be, by their first bytes alone."""

import re
from typing import Final

#: (offset, bytes, name); the names of formats that we never decode serve only to tell a picture of
#: an unwanted kind from something that is no picture.
_MAGIC: Final = (
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"GIF87a", "gif"),
    (0, b"GIF89a", "gif"),
    (8, b"WEBP", "webp"),  # after RIFF and a length
    (0, b"II*\0", "tiff"),
    (0, b"MM\0*", "tiff"),
    (0, b"II+\0", "tiff"),
    (0, b"MM\0+", "tiff"),
    (0, b"\0\0\1\0", "ico"),
    (0, b"\0\0\2\0", "cur"),
    (0, b"\0\0\0\x0cjP  ", "jpeg2000"),
    (0, b"\xff\x4f\xff\x51", "jpeg2000"),
    (0, b"\0\0\0\x0cJXL ", "jxl"),
    (0, b"\xff\x0a", "jxl"),
    (0, b"8BPS", "psd"),
    (0, b"icns", "icns"),
    (0, b"qoif", "qoi"),
    (0, b"DDS ", "dds"),
    (0, b"v/1\x01", "exr"),
    (0, b"#?RADIANCE", "hdr"),
    (0, b"%!PS-Adobe", "eps"),
    (0, b"\xd7\xcd\xc6\x9a", "wmf"),
)
_BMP_HEADERS: Final = frozenset({12, 16, 40, 52, 56, 64, 108, 124})  # sizes of the DIB header
_PNM: Final = re.compile(rb"P[1-7][\s#]")
_SVG: Final = re.compile(rb"<(?:[a-z]+:)?svg[\s>/]", re.IGNORECASE)
_SVG_REACH: Final = 4096  # comments and DOCTYPE may stand before the root element
_HTML: Final = re.compile(rb"<(?:!doctype\s+html|html|head|body)[\s>]", re.IGNORECASE)


def sniff(body: bytes | bytearray | memoryview) -> str | None:
    """The format's name, or None when the bytes look like no picture."""
    head = bytes(body[:_SVG_REACH])
    for offset, magic, name in _MAGIC:
        if head.startswith(magic, offset) and (name != "webp" or head.startswith(b"RIFF")):
            return name
    if head[4:8] == b"ftyp":
        return _iso_media(head)
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "bmp"
    if _PNM.match(head):
        return "pnm"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") and not _HTML.search(head):
        return "svg" if _SVG.search(head) else None
    return None


def _iso_media(head: bytes) -> str | None:
    """By the brands of an ISO base media file: AVIF, its older sister HEIF, or a film."""
    end = max(16, min(int.from_bytes(head[:4], "big"), len(head)))
    brands = {head[8:12], *(head[i : i + 4] for i in range(16, end, 4))}
    if brands & {b"avif", b"avis"}:
        return "avif"
    return "heif" if brands & {b"mif1", b"msf1", b"heic", b"heix", b"hevc"} else None
