"""What a synthetic picture shows, and which combinations the tiny CLIP never sees in training."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from random import Random
from typing import Self


class Shape(StrEnum):
    """The thing that is drawn, `count` times; every shape is its own mirror image or nearly so."""

    CIRCLE = "circle"
    SQUARE = "square"
    TRIANGLE = "triangle"
    STAR = "star"
    RING = "ring"
    CROSS = "cross"
    HEART = "heart"
    DIAMOND = "diamond"
    CRESCENT = "crescent"


class Colour(StrEnum):
    """Colour of the shapes."""

    RED = "red"
    ORANGE = "orange"
    YELLOW = "yellow"
    GREEN = "green"
    BLUE = "blue"
    PURPLE = "purple"
    PINK = "pink"
    BROWN = "brown"
    BLACK = "black"
    WHITE = "white"


class Texture(StrEnum):
    """What the shapes are filled with."""

    PLAIN = "plain"
    STRIPED = "striped"
    DOTTED = "dotted"
    CHECKED = "checked"


class Position(StrEnum):
    """Where in the central square the shapes stand."""

    LEFT = "left"
    RIGHT = "right"
    TOP = "top"
    BOTTOM = "bottom"
    CENTRE = "centre"


class Size(StrEnum):
    """Small or large, for that many shapes."""

    SMALL = "small"
    LARGE = "large"


class Ground(StrEnum):
    """Colour of the background."""

    WHITE = "white"
    GREY = "grey"
    BLACK = "black"
    BEIGE = "beige"
    TEAL = "teal"
    NAVY = "navy"


class Backdrop(StrEnum):
    """Kind of background."""

    EVEN = "even"
    GRADIENT = "gradient"
    NOISE = "noise"
    STRIPES = "stripes"


MAX_COUNT = 4

_SHAPES, _COLOURS = list(Shape), list(Colour)
_TEXTURED = [texture for texture in Texture if texture is not Texture.PLAIN]

#: Which colours show on which ground; the rest are too alike to tell apart after a JPEG.
_VISIBLE = {
    Ground.WHITE: set(Colour) - {Colour.WHITE, Colour.YELLOW},
    Ground.GREY: set(Colour) - {Colour.BROWN},
    Ground.BLACK: set(Colour) - {Colour.BLACK, Colour.BROWN, Colour.PURPLE, Colour.BLUE},
    Ground.BEIGE: set(Colour) - {Colour.WHITE, Colour.YELLOW, Colour.PINK},
    Ground.TEAL: set(Colour) - {Colour.GREEN, Colour.BLUE},
    Ground.NAVY: set(Colour) - {Colour.BLACK, Colour.BLUE, Colour.PURPLE, Colour.BROWN},
}


@dataclass(frozen=True, slots=True)
class Scene:
    """One picture's content.

    Raises:
        ValueError: `count` is not 1 to 4.
    """

    shape: Shape
    colour: Colour
    count: int = 1
    texture: Texture = Texture.PLAIN
    position: Position = Position.CENTRE
    size: Size = Size.LARGE
    ground: Ground = Ground.GREY
    backdrop: Backdrop = Backdrop.EVEN

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_COUNT:
            raise ValueError(f"a scene shows 1 to {MAX_COUNT} shapes, not {self.count}")

    @classmethod
    def random(cls, rng: Random) -> Self:
        """Any scene whose colour shows on its ground."""
        ground = rng.choice(list(Ground))
        return cls(
            shape=rng.choice(_SHAPES),
            colour=rng.choice(sorted(_VISIBLE[ground])),
            count=rng.randint(1, MAX_COUNT),
            texture=Texture.PLAIN if rng.random() < 0.5 else rng.choice(_TEXTURED),
            position=rng.choice(list(Position)),
            size=rng.choice(list(Size)),
            ground=ground,
            backdrop=rng.choice(list(Backdrop)),
        )

    def unlike(self, rng: Random) -> "Scene":
        """A scene that has another shape and another colour; the rest may agree."""
        others = _scenes(rng)
        return next(s for s in others if s.shape != self.shape and s.colour != self.colour)


CORE = ("shape", "colour", "count")  #: what every caption tells
ATTRIBUTES: tuple[str, ...] = tuple(field.name for field in fields(Scene))


def held_out(scene: Scene) -> bool:
    """Whether the scene's colour and shape, or texture and shape, never meet in training.

    A Latin pattern, so that each shape misses one or two colours and each colour one or two
    shapes; every other shape also misses one texture.
    """
    shape = _SHAPES.index(scene.shape)
    if (3 * shape + _COLOURS.index(scene.colour)) % 7 == 0:
        return True
    missing = _TEXTURED[shape // 2 % len(_TEXTURED)] if shape % 2 == 0 else None
    return scene.texture is missing


def training_scene(rng: Random) -> Scene:
    """A scene of a combination that training may see."""
    return next(scene for scene in _scenes(rng) if not held_out(scene))


def held_out_scene(rng: Random) -> Scene:
    """A scene of a combination that training never sees."""
    return next(scene for scene in _scenes(rng) if held_out(scene))


def _scenes(rng: Random) -> Iterator[Scene]:
    while True:
        yield Scene.random(rng)


def mirrored(scene: Scene) -> Scene:
    """What the left-to-right mirror image of the scene's picture shows."""
    swapped = {Position.LEFT: Position.RIGHT, Position.RIGHT: Position.LEFT}
    return replace(scene, position=swapped.get(scene.position, scene.position))


def varied(scene: Scene, attribute: str, rng: Random) -> Scene:
    """The same scene but for one attribute."""
    others = (getattr(other, attribute) for other in _scenes(rng))
    value = next(value for value in others if value != getattr(scene, attribute))
    return replace(scene, **{attribute: value})
