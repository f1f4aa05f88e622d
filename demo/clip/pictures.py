"""Draws scenes: the pictures of the demo's miniature web, and what the tiny CLIP learns from."""

import math
from collections.abc import Sequence
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from demo.clip.captions import Description, caption, describe
from demo.clip.scenes import (
    Backdrop,
    Colour,
    Ground,
    Position,
    Scene,
    Shape,
    Size,
    Texture,
    held_out,
    held_out_scene,
    training_scene,
)

__all__ = [
    "Backdrop", "Colour", "Description", "Ground", "Position", "Scene", "Shape", "Size", "Texture",
    "caption", "describe", "draw", "draw_nothing", "held_out", "held_out_scene",
    "training_scene",
]  # fmt: skip

RGB = tuple[int, int, int]

_PAINT: dict[Colour, RGB] = {
    Colour.RED: (212, 24, 32),
    Colour.ORANGE: (250, 138, 16),
    Colour.YELLOW: (248, 226, 40),
    Colour.GREEN: (36, 158, 60),
    Colour.BLUE: (36, 84, 224),
    Colour.PURPLE: (132, 44, 168),
    Colour.PINK: (250, 138, 188),
    Colour.BROWN: (120, 72, 36),
    Colour.BLACK: (16, 16, 18),
    Colour.WHITE: (250, 250, 250),
}
_GROUND: dict[Ground, RGB] = {
    Ground.WHITE: (246, 246, 246),
    Ground.GREY: (142, 142, 144),
    Ground.BLACK: (20, 20, 22),
    Ground.BEIGE: (226, 208, 172),
    Ground.TEAL: (28, 128, 132),
    Ground.NAVY: (22, 32, 84),
}

# Everything below is in units of the central square's side, so that a picture of any size shows
# the same and open_clip's centre crop cuts nothing off.
_MARGIN = 0.03
_RADIUS = {
    Size.SMALL: {1: 0.12, 2: 0.10, 3: 0.09, 4: 0.085},
    Size.LARGE: {1: 0.23, 2: 0.165, 3: 0.145, 4: 0.135},
}
_ANCHOR = {
    Position.LEFT: (0.22, 0.5),
    Position.RIGHT: (0.78, 0.5),
    Position.TOP: (0.5, 0.22),
    Position.BOTTOM: (0.5, 0.78),
    Position.CENTRE: (0.5, 0.5),
}
_COLUMNS: dict[int, Sequence[tuple[float, float]]] = {
    2: [(0, -1), (0, 1)],
    3: [(0, -2), (0, 0), (0, 2)],
}
_BLOCK: dict[int, Sequence[tuple[float, float]]] = {
    2: [(-0.8, -0.8), (0.8, 0.8)],
    3: [(-1, 0.85), (1, 0.85), (0, -0.85)],
    4: [(-1, -1), (1, -1), (-1, 1), (1, 1)],
}


def draw(scene: Scene, size: int | tuple[int, int], rng: Random | None = None) -> Image.Image:
    """The scene as an RGB picture of `size` pixels: a side, or width and height.

    What the caption tells stays inside the central square. The same scene, size and state of
    `rng` give the same pixels; without an `rng`, the same scene and size do.
    """
    rng = rng or Random(repr(scene))
    width, height = (size, size) if isinstance(size, int) else size
    picture = _background(scene.ground, scene.backdrop, width, height, rng)
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    radius = _RADIUS[scene.size][scene.count] * rng.uniform(0.94, 1.06)
    paint = _jittered(_PAINT[scene.colour], 8, rng)
    second = _second_paint(paint)
    for x, y in _places(scene, radius, rng):
        tile = max(4, round(2 * radius * side))
        mask = _mask(scene.shape, tile, rng.uniform(-10, 10))
        fill = _fill(scene.texture, tile, paint, second, rng)
        corner = (round(left + x * side - tile / 2), round(top + y * side - tile / 2))
        picture.paste(fill, corner, mask)
    if rng.random() < 0.2:
        picture = picture.filter(ImageFilter.GaussianBlur(side * rng.uniform(0.002, 0.008)))
    return picture


def draw_nothing(size: int | tuple[int, int], rng: Random) -> Image.Image:
    """A background alone, which no caption describes."""
    width, height = (size, size) if isinstance(size, int) else size
    return _background(rng.choice(list(Ground)), rng.choice(list(Backdrop)), width, height, rng)


def _places(scene: Scene, radius: float, rng: Random) -> list[tuple[float, float]]:
    """Centres of the shapes: a row, a column or a block about the position's anchor."""
    step = radius * rng.uniform(1.06, 1.14)
    offsets = [(step * x, step * y) for x, y in _layout(scene, rng)]
    anchor = _ANCHOR[scene.position]
    centre = []
    for axis in (0, 1):
        reach = max(abs(offset[axis]) for offset in offsets) + radius + _MARGIN
        at = anchor[axis] + rng.uniform(-0.03, 0.03)
        centre.append(min(max(at, reach), 1 - reach) if reach < 0.5 else 0.5)
    return [(centre[0] + x, centre[1] + y) for x, y in offsets]


def _layout(scene: Scene, rng: Random) -> Sequence[tuple[float, float]]:
    """Offsets in steps; along the edge that the position names, so that it stays there."""
    if scene.count == 1:
        return [(0, 0)]
    if scene.count not in _COLUMNS or rng.random() < 0.3:
        return _BLOCK[scene.count]
    column = _COLUMNS[scene.count]
    row = [(y, x) for x, y in column]
    match scene.position:
        case Position.LEFT | Position.RIGHT:
            return column
        case Position.TOP | Position.BOTTOM:
            return row
        case Position.CENTRE:
            return rng.choice([row, column])


def _jittered(paint: RGB, spread: int, rng: Random) -> RGB:
    red, green, blue = (min(255, max(0, part + rng.randint(-spread, spread))) for part in paint)
    return red, green, blue


def _second_paint(paint: RGB) -> RGB:
    """A clearly lighter or darker shade of the same hue, for stripes, dots and checks."""
    if sum(paint) > 330:
        return paint[0] * 55 // 100, paint[1] * 55 // 100, paint[2] * 55 // 100
    red, green, blue = (part + (255 - part) * 45 // 100 for part in paint)
    return red, green, blue


def _mask(shape: Shape, side: int, degrees: float) -> Image.Image:
    """The shape's silhouette, anti-aliased, filling a tile of `side` pixels."""
    scale = 4 if side < 64 else 2
    full = side * scale
    mask = Image.new("L", (full, full))
    pen = ImageDraw.Draw(mask)
    match shape:
        case Shape.CIRCLE:
            _disc(pen, full, 0.5, 0.5, 0.48, 255)
        case Shape.RING:
            _disc(pen, full, 0.5, 0.5, 0.49, 255)
            _disc(pen, full, 0.5, 0.5, 0.27, 0)
        case Shape.CRESCENT:
            _disc(pen, full, 0.47, 0.5, 0.46, 255)
            _disc(pen, full, 0.70, 0.5, 0.38, 0)
        case Shape.HEART:
            _disc(pen, full, 0.27, 0.32, 0.235, 255)
            _disc(pen, full, 0.73, 0.32, 0.235, 255)
            corners = [(0.07, 0.43), (0.5, 0.30), (0.93, 0.43), (0.5, 0.97)]
            pen.polygon([(x * full, y * full) for x, y in corners], fill=255)
        case _:
            pen.polygon([(x * full, y * full) for x, y in _CORNERS[shape]], fill=255)
    turned = mask.rotate(degrees, Image.Resampling.BILINEAR)
    return turned.resize((side, side), Image.Resampling.BOX)


def _disc(
    pen: ImageDraw.ImageDraw, full: int, x: float, y: float, radius: float, tone: int
) -> None:
    box = ((x - radius) * full, (y - radius) * full, (x + radius) * full, (y + radius) * full)
    pen.ellipse(box, fill=tone)


def _star() -> list[tuple[float, float]]:
    corners = []
    for k in range(10):
        radius = 0.50 if k % 2 == 0 else 0.20
        angle = math.pi * k / 5
        corners.append((0.5 + radius * math.sin(angle), 0.52 - radius * math.cos(angle)))
    return corners


_CORNERS: dict[Shape, Sequence[tuple[float, float]]] = {
    Shape.SQUARE: [(0.09, 0.09), (0.91, 0.09), (0.91, 0.91), (0.09, 0.91)],
    Shape.TRIANGLE: [(0.5, 0.05), (0.97, 0.90), (0.03, 0.90)],
    Shape.DIAMOND: [(0.5, 0.0), (0.83, 0.5), (0.5, 1.0), (0.17, 0.5)],
    Shape.CROSS: [
        (0.35, 0.04), (0.65, 0.04), (0.65, 0.35), (0.96, 0.35), (0.96, 0.65), (0.65, 0.65),
        (0.65, 0.96), (0.35, 0.96), (0.35, 0.65), (0.04, 0.65), (0.04, 0.35), (0.35, 0.35),
    ],
    Shape.STAR: _star(),
}  # fmt: skip


def _fill(texture: Texture, side: int, paint: RGB, second: RGB, rng: Random) -> Image.Image:
    """A tile of `side` pixels in the texture."""
    if texture is Texture.PLAIN:
        return Image.new("RGB", (side, side), paint)
    y, x = np.mgrid[0:side, 0:side] / side
    x, y = x + rng.random(), y + rng.random()
    match texture:
        case Texture.STRIPED:
            along = rng.choice([x, y, (x + y) * 0.7])
            chosen = (along * 3.2) % 1 < 0.5
        case Texture.CHECKED:
            chosen = ((x * 2.8).astype(int) + (y * 2.8).astype(int)) % 2 == 0
        case _:
            chosen = np.hypot((x * 3.2) % 1 - 0.5, (y * 3.2) % 1 - 0.5) < 0.32
    pixels = np.where(chosen[:, :, None], np.array(second, np.uint8), np.array(paint, np.uint8))
    return Image.fromarray(pixels)


def _background(
    ground: Ground, backdrop: Backdrop, width: int, height: int, rng: Random
) -> Image.Image:
    paint = _jittered(_GROUND[ground], 8, rng)
    if backdrop is Backdrop.EVEN:
        return Image.new("RGB", (width, height), paint)
    side = min(width, height)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / side
    angle = rng.uniform(0, math.tau)
    along = x * math.cos(angle) + y * math.sin(angle)
    match backdrop:
        case Backdrop.GRADIENT:
            light = (along - along.min()) / max(float(np.ptp(along)), 1e-6) * 72 - 36
        case Backdrop.STRIPES:
            light = np.where((along * rng.uniform(6, 10)) % 1 < 0.5, 14.0, -14.0)
        case _:
            # in cells, as grain of single pixels would vanish when a large picture is made small
            cells = np.random.default_rng(rng.getrandbits(64)).normal(0, 20, (48, 48))
            light = cells[(y * 47).astype(int) % 48, (x * 47).astype(int) % 48]
    pixels = np.clip(np.array(paint) + light[:, :, None], 0, 255).astype(np.uint8)
    return Image.fromarray(pixels)
