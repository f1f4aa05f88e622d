"""From a stranger's bytes to the model's pixels, by Pillow, exactly as open_clip prepares them."""

import io
import warnings
from dataclasses import dataclass
from typing import Final

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from .sniff import sniff
from .wire import Rules, Verdict

#: Formats that a recipe may name, and Pillow's name for each. The plugins are imported above, by
#: name, because once the process is confined nothing can be imported any more.
FORMATS: Final = {
    "jpeg": JpegImagePlugin.JpegImageFile.format,
    "png": PngImagePlugin.PngImageFile.format,
    "webp": WebPImagePlugin.WebPImageFile.format,
    "gif": GifImagePlugin.GifImageFile.format,
    "avif": AvifImagePlugin.AvifImageFile.format,
    "bmp": BmpImagePlugin.BmpImageFile.format,
    "tiff": TiffImagePlugin.TiffImageFile.format,
}
_IMPORTED_FOR_JPEG: Final = MpoImagePlugin  # Pillow imports it at the first stereo or HDR JPEG

#: Above this many pixels after the resize only the crop is resized: the whole of a picture of
#: 64 x 1,000,000 pixels, made 224 x 3,500,000, would take more memory than the original. The two
#: ways differ by a few grey levels, so the short way is kept for the absurd: a ratio of sides
#: above 300 at a model size of 224.
_MAX_RESIZED_PIXELS: Final = 2**24


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture."""

    format: str
    width: int  #: as stored, without EXIF orientation: so are the pixels
    height: int
    pixels: bytes  #: RGB, size * size * 3


def be_strict(max_pixels: int) -> None:
    """Load all of Pillow that is needed; have it refuse what it would only warn of or mend."""
    Image.preinit()
    Image.MAX_IMAGE_PIXELS = max_pixels
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    warnings.simplefilter("ignore")  # odd EXIF and the like: what can be decoded is decoded
    warnings.simplefilter("error", Image.DecompressionBombWarning)


def open_picture(body: bytes | bytearray, rules: Rules) -> Picture | Verdict:
    """The picture as the model wants it, or why there is none. `be_strict` comes first, once."""
    name = sniff(body)
    if name is None:
        return Verdict.NOT_AN_IMAGE
    if name not in rules.formats:
        return Verdict.FORMAT_REFUSED
    try:
        # Too many pixels end it here, before anything is decoded: see `be_strict`.
        with Image.open(io.BytesIO(body), formats=[FORMATS[name]]) as image:
            width, height = image.size
            if min(width, height) < rules.min_side:
                return Verdict.TOO_SMALL
            return Picture(name, width, height, model_pixels(image, rules.size))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return Verdict.TOO_MANY_PIXELS
    except MemoryError:
        return Verdict.DECODE_LIMIT
    except Exception:  # noqa: BLE001 (a stranger's picture may break Pillow in any way)
        return Verdict.BROKEN_IMAGE


def specimens(formats: tuple[str, ...]) -> dict[str, bytes]:
    """A small picture of each format, to try the decoder with once it is confined."""
    bodies = {}
    for name in formats:
        buffer = io.BytesIO()
        Image.new("RGB", (16, 16), (200, 100, 50)).save(buffer, FORMATS[name])
        bodies[name] = buffer.getvalue()
    return bodies


def model_pixels(image: Image.Image, size: int) -> bytes:
    """Resize the shortest side to `size`, bicubic, cut the middle, convert to RGB.

    The same calls in the same order as `open_clip.transform.image_transform(size, False)`: it
    resizes before it converts, takes the first frame, and leaves EXIF orientation alone, so a
    rotated picture is scored as the model's own preprocessing shows it.
    """
    width, height = image.size
    long = int(size * max(width, height) / min(width, height))
    target = (size, long) if width <= height else (long, size)
    left = round((target[0] - size) / 2)
    top = round((target[1] - size) / 2)
    if long * size > _MAX_RESIZED_PIXELS:
        x, y = width / target[0], height / target[1]
        box = (left * x, top * y, min((left + size) * x, width), min((top + size) * y, height))
        cropped = image.resize((size, size), Image.Resampling.BICUBIC, box=box)
    else:
        resized = image
        if image.size != target:
            resized = image.resize(target, Image.Resampling.BICUBIC)
        cropped = resized.crop((left, top, left + size, top + size))
    return cropped.convert("RGB").tobytes()
