"""Captions of scenes, in varied English."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from demo.clip.scenes import (
    ATTRIBUTES,
    CORE,
    Backdrop,
    Colour,
    Ground,
    Position,
    Scene,
    Shape,
    Size,
    Texture,
)

_SHAPES: dict[Shape, Sequence[tuple[str, str]]] = {
    Shape.CIRCLE: [("circle", "circles"), ("disc", "discs")],
    Shape.SQUARE: [("square", "squares"), ("box", "boxes")],
    Shape.TRIANGLE: [("triangle", "triangles")],
    Shape.STAR: [("star", "stars")],
    Shape.RING: [("ring", "rings"), ("hoop", "hoops")],
    Shape.CROSS: [("cross", "crosses"), ("plus sign", "plus signs")],
    Shape.HEART: [("heart", "hearts")],
    Shape.DIAMOND: [("diamond", "diamonds"), ("rhombus", "rhombuses")],
    Shape.CRESCENT: [("crescent", "crescents"), ("moon", "moons")],
}
_COLOURS: dict[Colour, Sequence[str]] = {
    Colour.RED: ["red", "red", "scarlet"],
    Colour.ORANGE: ["orange"],
    Colour.YELLOW: ["yellow"],
    Colour.GREEN: ["green"],
    Colour.BLUE: ["blue"],
    Colour.PURPLE: ["purple", "purple", "violet"],
    Colour.PINK: ["pink"],
    Colour.BROWN: ["brown"],
    Colour.BLACK: ["black"],
    Colour.WHITE: ["white"],
}
_ONE = ["a", "a", "one", "a single", "1"]
_SEVERAL = {
    2: ["two", "two", "2", "a pair of"],
    3: ["three", "three", "3"],
    4: ["four", "four", "4"],
}
_TEXTURES: dict[Texture, Sequence[str]] = {
    Texture.PLAIN: ["plain", "solid"],
    Texture.STRIPED: ["striped", "stripy"],
    Texture.DOTTED: ["dotted", "spotted"],
    Texture.CHECKED: ["checked", "chequered"],
}
_SIZES: dict[Size, Sequence[str]] = {
    Size.SMALL: ["small", "little", "tiny"],
    Size.LARGE: ["large", "big"],
}
_POSITIONS: dict[Position, Sequence[str]] = {
    Position.LEFT: ["on the left", "on the left side", "at left"],
    Position.RIGHT: ["on the right", "on the right side", "at right"],
    Position.TOP: ["at the top", "in the upper part", "near the top"],
    Position.BOTTOM: ["at the bottom", "in the lower part", "near the bottom"],
    Position.CENTRE: ["in the centre", "in the middle", "at the center"],
}
_GROUNDS: dict[Ground, Sequence[str]] = {
    Ground.WHITE: ["white"],
    Ground.GREY: ["grey", "gray"],
    Ground.BLACK: ["black"],
    Ground.BEIGE: ["beige", "cream"],
    Ground.TEAL: ["teal"],
    Ground.NAVY: ["navy", "dark blue"],
}
_BACKDROPS: dict[Backdrop, Sequence[str]] = {
    Backdrop.EVEN: ["even", "flat"],
    Backdrop.GRADIENT: ["shaded", "gradient"],
    Backdrop.NOISE: ["noisy", "grainy"],
    Backdrop.STRIPES: ["lined", "striped"],
}
_OPENINGS = [
    "a photo of {}",
    "a picture of {}",
    "an image of {}",
    "a drawing of {}",
    "a picture showing {}",
    "here you see {}",
    "my new print with {}",
    "this shows {}",
    "look: {}",
    "clip art of {}",
]
_TAILS = [
    "{} - image {}",
    "{} | stock photo {}",
    "{}, free download",
    "{} for your wall",
    "{} (no. {})",
    "{}, by our shop",
    "{}.",
    "{}!",
]


@dataclass(frozen=True, slots=True)
class Description:
    """A caption and which of the scene's attributes it tells."""

    text: str
    tells: frozenset[str]


def describe(scene: Scene, rng: Random) -> Description:
    """A caption that tells shape, colour and count, and each other attribute or not, by chance.

    A caption that leaves an attribute out is true of every picture that agrees in the rest.
    """
    told = frozenset(name for name in ATTRIBUTES if name in CORE or rng.random() < 0.4)
    things = _things(scene, told, rng)
    places = []
    if "position" in told:
        places.append(rng.choice(_POSITIONS[scene.position]))
    if "ground" in told or "backdrop" in told:
        places.append(_ground(scene, told, rng))
    rng.shuffle(places)
    match rng.randrange(4):
        case 0 if places:  # "on a grey background, two red circles at the top"
            first, *rest = places
            text = " ".join([f"{first},", things, *rest])
        case 1:
            text = ", ".join([things, *places])
        case _:
            text = " ".join([things, *places])
    if rng.random() < 0.4:
        text = rng.choice(_OPENINGS).format(text)
    if rng.random() < 0.25:
        text = rng.choice(_TAILS).format(text, rng.randint(1, 9999))
    if rng.random() < 0.5:
        text = text[0].upper() + text[1:]
    return Description(text, told)


def caption(scene: Scene, rng: Random | None = None) -> str:
    """The text of `describe`: an English caption that is true of the scene.

    Without an `rng`, the same scene always has the same caption.
    """
    return describe(scene, rng or Random(repr(scene))).text


def _things(scene: Scene, told: frozenset[str], rng: Random) -> str:
    one, several = rng.choice(_SHAPES[scene.shape])
    number = rng.choice(_ONE if scene.count == 1 else _SEVERAL[scene.count])
    adjectives = []
    if "texture" in told:
        adjectives.append(rng.choice(_TEXTURES[scene.texture]))
    adjectives.append(rng.choice(_COLOURS[scene.colour]))
    if rng.random() < 0.3:
        rng.shuffle(adjectives)
    if "size" in told:
        adjectives.insert(0, rng.choice(_SIZES[scene.size]))
    if number == "a" and adjectives[0][0] in "aeiou":
        number = "an"
    return " ".join([number, *adjectives, one if scene.count == 1 else several])


def _ground(scene: Scene, told: frozenset[str], rng: Random) -> str:
    words = []
    if "backdrop" in told:
        words.append(rng.choice(_BACKDROPS[scene.backdrop]))
    if "ground" in told:
        words.append(rng.choice(_GROUNDS[scene.ground]))
    word = rng.choice(["background", "background", "backdrop"])
    article = "an" if words[0][0] in "aeiou" else "a"
    preposition = rng.choice(["on", "on", "against"])
    return " ".join([preposition, article, *words, word])


_SMALL_TALK = [
    "logo", "company logo", "click here", "menu", "home", "our team at the summer party",
    "download the report", "a dog runs on the beach", "portrait of a woman", "read more",
    "chocolate cake with cream", "view of the city at night", "search", "photo of the house",
    "facebook icon", "back to the top", "next page", "image", "a photo", "picture of the day",
    "background", "your account", "map of the area", "three people at a table", "white wine",
    "the new red car", "green salad with tomatoes", "a man in a blue shirt", "footer",
]  # fmt: skip


def small_talk(rng: Random) -> str:
    """A text such as pages have beside pictures, true of none of ours."""
    text = rng.choice(_SMALL_TALK)
    return f"{text} {rng.randint(1, 9999)}" if rng.random() < 0.3 else text
