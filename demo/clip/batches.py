"""What one training step sees: pictures, captions, and which caption is true of which picture."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt
import open_clip
import torch
from open_clip.transform import PreprocessCfg
from PIL import Image
from torchvision.transforms import Compose, Normalize, ToTensor

from demo.clip.captions import describe, small_talk
from demo.clip.pictures import draw, draw_nothing
from demo.clip.scenes import ATTRIBUTES, CORE, Scene, held_out, mirrored, training_scene, varied
from demo.clip.words import UNKNOWN, Words

SIDE = 64  #: pixels, the model's input
EMPTY_SHARE = 0.02  #: of the pictures show no shape at all
CHATTER = 24  #: texts a batch that are true of no picture
LONGEST = 46  #: tokens of a text, so that start and end fit into the context of 48

_CLIP = open_clip.transform.image_transform_v2(PreprocessCfg(size=SIDE), is_train=False)
#: open_clip's inference preprocessing in two halves: pixels are kept as bytes between them
_RESIZE = Compose([t for t in _CLIP.transforms if not isinstance(t, (ToTensor, Normalize))])
_NORMALIZE = next(t for t in _CLIP.transforms if isinstance(t, Normalize))


@dataclass(frozen=True, slots=True)
class Pool:
    """Rendered pictures, uint8 (n, 3, 64, 64), and what they show; `None` is nothing."""

    pixels: npt.NDArray[np.uint8]
    scenes: Sequence[Scene | None]

    @classmethod
    def joined(cls, parts: Sequence["Pool"]) -> "Pool":
        """All the parts' pictures."""
        scenes = [scene for part in parts for scene in part.scenes]
        return cls(np.concatenate([part.pixels for part in parts]), scenes)


def render(seed: int, count: int) -> Pool:
    """`count` pictures of training's scenes, as open_clip's preprocessing leaves them."""
    rng = Random(seed)
    scenes = [None if rng.random() < EMPTY_SHARE else training_scene(rng) for _ in range(count)]
    pixels = np.stack([_pixels(scene, rng) for scene in scenes])
    return Pool(pixels, scenes)


def _pixels(scene: Scene | None, rng: Random) -> npt.NDArray[np.uint8]:
    side = rng.choice([64, 96, 128, 160, 160, 224, 300])
    size = (side + rng.choice([0, side // 3]), side + rng.choice([0, side // 3]))
    picture = draw_nothing(size, rng) if scene is None else draw(scene, size, rng)
    match rng.randrange(8):
        case 0 | 1 | 2:
            picture = _through_file(picture, "JPEG", rng)
        case 3:
            picture = _through_file(picture, "WEBP", rng)
        case 4:
            picture = picture.quantize(128).convert("RGB")  # what a GIF keeps
    return np.asarray(_RESIZE(picture), np.uint8).transpose(2, 0, 1)


def _through_file(picture: Image.Image, kind: str, rng: Random) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, kind, quality=rng.randint(40, 95))
    return Image.open(file).convert("RGB")


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's data. Text i of the first B is picture i's caption, text B + i nearly so."""

    images: torch.Tensor  #: (B, 3, 64, 64), normalised
    texts: torch.Tensor  #: (2 B + CHATTER, longest), dense numbers
    true: torch.Tensor  #: (B, 2 B + CHATTER), bool
    own: torch.Tensor  #: indices of the pictures that show something


class Batches:
    """Draws batches of `size` pictures from a pool."""

    def __init__(self, pool: Pool, words: Words, size: int) -> None:
        self._pool, self._words, self._size = pool, words, size

    def draw(self, rng: np.random.Generator) -> Batch:
        """A fresh batch, with fresh captions; every other picture is mirrored."""
        dice = Random(int(rng.integers(2**63)))
        chosen = rng.choice(len(self._pool.scenes), self._size, replace=False)
        pixels = torch.from_numpy(self._pool.pixels[chosen])
        flip = torch.from_numpy(rng.random(self._size) < 0.5)
        pixels = torch.where(flip[:, None, None, None], pixels.flip(-1), pixels)
        scenes = [
            mirrored(scene) if scene is not None and flipped else scene
            for scene, flipped in zip((self._pool.scenes[i] for i in chosen), flip, strict=True)
        ]
        shown = [scene or training_scene(dice) for scene in scenes]
        told = [*shown, *(almost(scene, dice) for scene in shown)]
        captions = [describe(scene, dice) for scene in told]
        texts = [self._noisy(self._words.numbers(c.text), dice) for c in captions]
        texts += [self._chatter(dice) for _ in range(CHATTER)]
        own = torch.tensor([i for i, scene in enumerate(scenes) if scene is not None])
        agree = _codes(shown)[:, None] == _codes(told)[None]
        silent = torch.tensor([[name not in c.tells for name in ATTRIBUTES] for c in captions])
        true = torch.zeros(self._size, len(texts), dtype=torch.bool)
        true[own, : len(told)] = (agree | silent[None]).all(-1)[own]
        images = _NORMALIZE(pixels.float() / 255).contiguous(memory_format=torch.channels_last)
        return Batch(images, self._padded(texts), true, own)

    def _noisy(self, numbers: list[int], dice: Random) -> list[int]:
        """Some unknown words before or after, as texts on the web have them."""
        if dice.random() < 0.2:
            unknown = [UNKNOWN] * dice.randint(1, 8)
            return [*unknown, *numbers] if dice.random() < 0.5 else [*numbers, *unknown]
        return numbers

    def _chatter(self, dice: Random) -> list[int]:
        match dice.randrange(3):
            case 0:
                return [UNKNOWN] * dice.randint(1, LONGEST)
            case 1:
                known = [dice.randint(1, self._words.start - 1) for _ in range(dice.randint(1, 5))]
                return dice.sample(numbers := known + [UNKNOWN] * dice.randint(3, 20), len(numbers))
            case _:
                return self._noisy(self._words.numbers(small_talk(dice)), dice)

    def _padded(self, texts: Sequence[Sequence[int]]) -> torch.Tensor:
        length = min(max(map(len, texts)), LONGEST) + 2
        padded = torch.full((len(texts), length), UNKNOWN)
        for row, text in zip(padded, texts, strict=True):
            whole = [self._words.start, *text[:LONGEST], self._words.end]
            row[: len(whole)] = torch.tensor(whole)
        return padded


def almost(scene: Scene, dice: Random) -> Scene:
    """The scene with one attribute changed; training sees no caption of a held-out one either."""
    while True:
        attribute = dice.choice(CORE) if dice.random() < 0.6 else dice.choice(ATTRIBUTES)
        if not held_out(other := varied(scene, attribute, dice)):
            return other


def _codes(scenes: Sequence[Scene]) -> torch.Tensor:
    """Each scene as numbers that are equal where the attributes are."""
    codes: dict[object, int] = {}
    return torch.tensor(
        [
            [codes.setdefault(getattr(scene, name), len(codes)) for name in ATTRIBUTES]
            for scene in scenes
        ]
    )
