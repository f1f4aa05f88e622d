"""What stands behind a URL of the miniature web: a `Resource`, and the bytes of its answer."""

import io
import struct
import zlib
from dataclasses import dataclass
from enum import StrEnum, auto
from functools import lru_cache

from PIL import Image

from demo.clip.pictures import Scene, draw

#: the demo's recipe caps a picture at this, so that the oversized ones need few bytes to be so
MAX_IMAGE_BYTES = 256 * 1024
#: and refuses what is smaller than this
MIN_IMAGE_BYTES = 300
MIN_SIDE = 32

PICTURE_SIDE = 160
#: 400 million pixels, over the recipe's default of 89,478,484, in 49 KB: one bit each, all zero
BOMB_SIDE = 20_000

#: repetitions that bring a text over the least size of a picture
FILLING = 20

_MIME = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "gif": "image/gif",
    "bmp": "image/bmp",
}


class Serve(StrEnum):
    """How the web answers a request for a resource."""

    PICTURE = auto()  #: the scene, drawn
    DISGUISED = auto()  #: the scene, with the media type of another image format
    OPTED_OUT = auto()  #: the scene, with `X-Robots-Tag: noai`
    TRUNCATED = auto()  #: the first half of the scene's file, as if it were the whole
    BMP = auto()  #: the scene in a format that the recipe does not take
    DOT = auto()  #: a picture of 16 × 16 pixels, and few bytes
    SMALL = auto()  #: a picture of 24 × 24 pixels, with bytes enough
    BOMB = auto()  #: a PNG of 49 KB that unfolds to 400 million pixels
    HUGE = auto()  #: announces more bytes than the cap
    ENDLESS = auto()  #: never stops sending, and does not say how much comes
    DRIP = auto()  #: one byte a second
    SILENT = auto()  #: takes the request and never answers
    RESET = auto()  #: closes the connection in the face of the request
    HTML = auto()  #: a page, and says so
    HTML_AS_JPEG = auto()  #: a page that calls itself a JPEG
    SVG = auto()  #: a drawing that no recipe takes
    MISSING = auto()  #: 404
    FAILING = auto()  #: 500
    REDIRECT = auto()  #: to `location`


@dataclass(frozen=True, slots=True)
class Resource:
    """One URL's answer. `scene` and `format` matter to those that are drawn."""

    serve: Serve
    scene: Scene
    format: str = "jpeg"
    location: str = ""

    @property
    def mime(self) -> str:
        """The media type that the answer claims."""
        match self.serve:
            case Serve.DISGUISED:
                return "image/gif" if self.format != "gif" else "image/png"
            case Serve.HTML | Serve.MISSING | Serve.FAILING:
                return "text/html; charset=utf-8"
            case Serve.HTML_AS_JPEG | Serve.DRIP | Serve.HUGE | Serve.ENDLESS:
                return "image/jpeg"
            case Serve.SVG:
                return "image/svg+xml"
            case Serve.BMP:
                return "image/bmp"
            case Serve.BOMB | Serve.DOT | Serve.SMALL:
                return "image/png"
            case _:
                return _MIME[self.format]


@lru_cache(maxsize=256)
def body_of(resource: Resource) -> bytes:
    """The whole body of a resource that has one; the others are a matter of time, not of bytes."""
    match resource.serve:
        case Serve.PICTURE | Serve.DISGUISED | Serve.OPTED_OUT:
            return encode(_picture(resource.scene), resource.format)
        case Serve.TRUNCATED:
            whole = encode(_picture(resource.scene), resource.format)
            return whole[: len(whole) // 2]
        case Serve.BMP:
            return encode(_picture(resource.scene), "bmp")
        case Serve.DOT:
            return encode(Image.new("RGB", (16, 16), "red"), "png")
        case Serve.SMALL:
            return encode(_noise(24), "png")
        case Serve.BOMB:
            return bomb(BOMB_SIDE)
        case Serve.HUGE:
            return bytes(MAX_IMAGE_BYTES * 2)
        case Serve.SVG:
            circles = b'<circle r="9" fill="red"/>' * FILLING
            return b'<svg xmlns="http://www.w3.org/2000/svg">' + circles + b"</svg>"
        case _:
            lines = b"<p>Nothing to see here.</p>" * FILLING
            return b"<!doctype html><title>Not a picture</title>" + lines


def encode(image: Image.Image, format: str) -> bytes:
    """The picture as a file of that format."""
    out = io.BytesIO()
    if format == "jpeg":
        image.save(out, "JPEG", quality=90)
    elif format == "webp":
        image.save(out, "WEBP", quality=90, method=0)
    elif format == "gif":
        image.quantize(128).save(out, "GIF")
    else:
        image.save(out, format.upper())
    return out.getvalue()


@lru_cache(maxsize=1)
def bomb(side: int) -> bytes:
    """A valid PNG of side × side one-bit pixels, written chunk by chunk without ever drawing it."""
    deflate = zlib.compressobj(9)
    row = bytes(1 + side // 8)  # filter byte 0, then eight pixels a byte
    packed = b"".join(deflate.compress(row) for _ in range(side)) + deflate.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(kind, data) for kind, data in chunks)


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _picture(scene: Scene) -> Image.Image:
    return draw(scene, PICTURE_SIDE)


def _noise(side: int) -> Image.Image:
    # a linear congruential generator: noise that does not compress, the same on every run
    state, values = 1, bytearray()
    for _ in range(side * side * 3):
        state = (state * 1_103_515_245 + 12_345) % 2**31
        values.append(state >> 23)
    return Image.frombytes("RGB", (side, side), bytes(values))
