"""The decoder against open_clip's own preprocessing, and against every hostile picture we have."""

import io
import random
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from laion_protocol import DropReason, Recipe, SourceKind
from tests.worker_client.image_server import ImageServer
from worker_client.pipeline.confined.sniff import sniff
from worker_client.pipeline.decode import Decoder
from worker_client.pipeline.download import Downloader, DownloadSettings
from worker_client.samples import Decoded, Dropped, Fetched, Pair

SIZE = 224
FORMATS = ("jpeg", "png", "webp", "gif", "avif", "bmp", "tiff")
IMAGES = Path(__file__).resolve().parents[2] / "../shared/data/images"
TOLERANCE = 0.03  # after normalisation; a grey level is 0.015
EXACT = 1e-5  # but for rounding of floats, what Pillow makes is the same
RECIPE = Recipe(kind=SourceKind.WAT, formats=FORMATS, min_image_bytes=0, min_side=1)


@pytest.fixture(scope="module")
def open_clip_tensor():
    """Bytes -> open_clip's tensor, (3, SIZE, SIZE) float32, or why it makes none."""
    from open_clip.transform import image_transform

    transform = image_transform(SIZE, is_train=False)

    def run(body):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            try:
                with Image.open(io.BytesIO(body)) as image:
                    return transform(image).numpy()
            except (Image.DecompressionBombError, Image.DecompressionBombWarning):
                return DropReason.TOO_MANY_PIXELS
            except Exception:  # noqa: BLE001 (the pictures are hostile)
                return DropReason.BROKEN_IMAGE

    return run


def normalised(pixels):
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    scaled = pixels.astype(np.float32) / 255
    return ((scaled - OPENAI_DATASET_MEAN) / OPENAI_DATASET_STD).transpose(2, 0, 1)


def decode(bodies):
    """Name -> Decoded or reason, and the peak memory of the processes in bytes."""
    with Decoder(RECIPE, SIZE, processes=2) as decoder:
        items = [Fetched(Pair(name, "t", ""), body) for name, body in bodies.items()]
        found = {item.pair.url: item for item in decoder.decode(items)}
        peaks = [Path(f"/proc/{number}/status").read_text() for number in decoder.process_ids]
    assert found.keys() == bodies.keys()
    return found, max(int(text.split("VmHWM:")[1].split()[0]) * 1024 for text in peaks)


@pytest.fixture(scope="module")
def files():
    if not IMAGES.is_dir():
        pytest.skip(f"{IMAGES} is not there: the hostile pictures are not tried")
    found = {
        str(path.relative_to(IMAGES)): path.read_bytes()
        for path in sorted(IMAGES.rglob("*"))
        if path.is_file()
    }
    assert len(found) > 80
    return found


@pytest.fixture(scope="module")
def decoded_files(files):
    return decode(files)


def test_every_picture_that_open_clip_reads_comes_out_as_it_does(
    files, decoded_files, open_clip_tensor
):
    found, _ = decoded_files
    compared = 0
    for name, body in files.items():
        item = found[name]
        if sniff(body) not in FORMATS:
            expected = {DropReason.FORMAT_REFUSED, DropReason.NOT_AN_IMAGE}
            assert isinstance(item, Dropped), name
            assert item.reason in expected, name
            continue
        wanted = open_clip_tensor(body)
        if isinstance(wanted, DropReason):
            assert isinstance(item, Dropped), (name, wanted)
            assert item.reason is wanted, name
            continue
        assert isinstance(item, Decoded), (name, item)
        difference = float(np.abs(normalised(item.pixels) - wanted).max())
        assert difference <= EXACT, (name, difference)
        compared += 1
    assert compared >= 45


def test_no_hostile_picture_takes_much_memory(decoded_files):
    _, peak = decoded_files
    assert peak < 256 * 2**20


def test_hostile_pictures_come_to_the_same_over_the_network(files, decoded_files):
    served = {name.replace("/", "-"): body for name, body in files.items()}
    with ImageServer(files=served) as server:
        settings = DownloadSettings(
            user_agent="laion-worker/0.1 (+https://example.org/bot)",
            allow_private=frozenset({server.endpoint}),
            per_host=8,
            per_host_delay=0,
        )
        pairs = [Pair(server.url(f"/file/{name}"), "t", "") for name in served]
        with Downloader(settings) as downloader, Decoder(RECIPE, SIZE, processes=2) as decoder:
            fetched = downloader.fetch(pairs, threading.Event())
            found = {item.pair.url: item for item in decoder.decode(fetched)}
        assert len(found) == len(files)
        straight, _ = decoded_files
        for name, item in straight.items():
            other = found[server.url(f"/file/{name.replace('/', '-')}")]
            if isinstance(item, Decoded):
                assert isinstance(other, Decoded), (name, other)
                assert other.sha256 == item.sha256
                assert np.array_equal(other.pixels, item.pixels), name
            else:
                assert other.reason is item.reason, name


def saved(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def generated():
    """Pictures of every mode, format and odd shape, by name."""
    random.seed(7)
    rng = np.random.default_rng(7)

    def photo(width, height, bands=3):
        coarse = rng.integers(0, 255, (height // 8 + 2, width // 8 + 2, bands), np.uint8)
        mode = {3: "RGB", 4: "RGBA"}[bands]
        return Image.fromarray(coarse, mode).resize((width, height), Image.Resampling.BICUBIC)

    exif = Image.Exif()
    exif[0x0112] = 6
    rgb, rgba = photo(500, 333), photo(400, 300, 4)
    palette = rgb.quantize(64)
    frames = [photo(120, 90) for _ in range(3)]
    deep = Image.fromarray(rng.integers(0, 65535, (300, 260), np.uint16))
    bodies = {
        "cmyk.jpg": saved(rgb.convert("CMYK"), "JPEG"),
        "grey.jpg": saved(rgb.convert("L"), "JPEG"),
        "progressive.jpg": saved(rgb, "JPEG", progressive=True, quality=70),
        "turned.jpg": saved(rgb, "JPEG", exif=exif),
        "alpha.png": saved(rgba, "PNG"),
        "grey-alpha.png": saved(rgba.convert("LA"), "PNG"),
        "palette.png": saved(palette, "PNG"),
        "palette-alpha.png": saved(palette, "PNG", transparency=3),
        "bilevel.png": saved(rgb.convert("1"), "PNG"),
        "16-bit.png": saved(deep, "PNG"),
        "turned.png": saved(rgb, "PNG", exif=exif),
        "animated.png": saved(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "animated.gif": saved(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "transparent.gif": saved(palette, "GIF", transparency=3),
        "animated.webp": saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "alpha.webp": saved(rgba, "WEBP"),
        "lossless.webp": saved(rgb, "WEBP", lossless=True),
        "exact.png": saved(photo(SIZE, SIZE), "PNG"),
        "smaller.png": saved(photo(40, 60), "PNG"),
        "odd.png": saved(photo(225, 401), "PNG"),
        "long.png": saved(photo(80, 1500), "PNG"),
        "wide.png": saved(photo(1501, 70), "PNG"),
        "wide-alpha.png": saved(photo(2333, 101, 4), "PNG"),
        "wide-palette.png": saved(photo(1999, 77).quantize(32), "PNG"),
        "one-pixel-high.png": saved(photo(640, 1), "PNG"),
        "a.bmp": saved(rgb, "BMP"),
        "a.tiff": saved(rgb, "TIFF"),
        "a.avif": saved(rgb, "AVIF"),
    }
    bodies["absurd.png"] = saved(photo(24_000, 60), "PNG")  # only its middle is resized
    for number in range(12):
        size = (random.randint(30, 900), random.randint(30, 900))
        bodies[f"random{number}-{size}.jpg"] = saved(photo(*size), "JPEG")
    return bodies


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated:DeprecationWarning")
def test_pictures_of_every_mode_and_shape_come_out_as_open_clip_makes_them(open_clip_tensor):
    bodies = generated()
    found, _ = decode(bodies)
    for name, body in bodies.items():
        assert isinstance(found[name], Decoded), (name, found[name])
        difference = np.abs(normalised(found[name].pixels) - open_clip_tensor(body)).max()
        assert difference <= (2 * TOLERANCE if name == "absurd.png" else EXACT), (name, difference)
