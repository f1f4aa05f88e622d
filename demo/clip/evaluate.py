"""How well the tiny CLIP tells matching captions from others: `python -m demo.clip.evaluate`."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import click
import torch
from PIL import Image

from demo.clip import THRESHOLD, WEIGHTS
from demo.clip.captions import caption, small_talk
from demo.clip.model import TinyClip
from demo.clip.pictures import draw
from demo.clip.scenes import CORE, Scene, held_out_scene, training_scene, varied

BATCH = 256


@dataclass(frozen=True, slots=True)
class Verdict:
    """Cosines of pictures with their own captions and with false ones."""

    true: list[float]
    false: list[float]

    @property
    def auc(self) -> float:
        """Chance that a true caption scores above a false one; 0.5 is guessing, 1 is perfect."""
        true, false = torch.tensor(self.true), torch.tensor(self.false)
        difference = true[:, None] - false[None]
        return float((difference > 0).double().mean() + (difference == 0).double().mean() / 2)

    def recall(self, threshold: float) -> float:
        """Share of the true captions that reach the threshold."""
        return sum(cosine >= threshold for cosine in self.true) / len(self.true)

    def precision(self, threshold: float) -> float:
        """Share of true captions among those that reach the threshold."""
        kept = sum(cosine >= threshold for cosine in self.true)
        wrong = sum(cosine >= threshold for cosine in self.false)
        return kept / max(kept + wrong, 1)

    @property
    def best_threshold(self) -> float:
        """The cosine that errs least, in the middle of all that err as little."""
        cuts = [i / 200 for i in range(-100, 200)]
        errors = [
            1 - self.recall(c) + sum(f >= c for f in self.false) / len(self.false) for c in cuts
        ]
        best = [
            cut for cut, error in zip(cuts, errors, strict=True) if error <= min(errors) + 0.001
        ]
        return best[len(best) // 2]


def photograph(scene: Scene, rng: Random) -> Image.Image:
    """The scene as a web site might have it: any size and proportion, through a lossy file."""
    side = rng.choice([120, 160, 200, 256, 320, 480])
    size = rng.choice([(side, side), (side * 3 // 2, side), (side, side * 4 // 3)])
    file = io.BytesIO()
    kind = rng.choice(["JPEG", "JPEG", "WEBP", "PNG", "GIF"])
    picture = draw(scene, size, rng)
    if kind == "GIF":
        picture = picture.quantize(128)
    picture.save(file, kind, quality=rng.randint(50, 95))
    with Image.open(file) as again:
        return again.convert("RGB")


class Trial:
    """Scenes drawn and encoded afresh, to be compared with true captions and with false ones."""

    def __init__(self, model: TinyClip, scenes: Sequence[Scene], seed: int = 0) -> None:
        self._model, self._scenes, self._rng = model, scenes, Random(seed)
        parts = [scenes[start : start + BATCH] for start in range(0, len(scenes), BATCH)]
        self._images = torch.cat(
            [model.images([photograph(scene, self._rng) for scene in part]) for part in parts]
        )
        self._true = self._cosines(caption)

    def against(self, false: Callable[[Scene, Random], str]) -> Verdict:
        """The true captions beside the texts that `false` gives for each scene."""
        return Verdict(self._true, self._cosines(false))

    def _cosines(self, text: Callable[[Scene, Random], str]) -> list[float]:
        texts = self._model.texts([text(scene, self._rng) for scene in self._scenes])
        cosines: list[float] = (self._images * texts).sum(1).tolist()
        return cosines


def auc(model: TinyClip, scenes: Sequence[Scene], seed: int = 0) -> float:
    """AUC of true captions against those of any scene of another shape, colour or count."""
    return Trial(model, scenes, seed).against(another).auc


def another(scene: Scene, rng: Random) -> str:
    """Caption of a random scene that differs in shape, colour or count."""
    other = Scene.random(rng)
    while all(getattr(other, name) == getattr(scene, name) for name in CORE):
        other = Scene.random(rng)
    return caption(other, rng)


def unlike(scene: Scene, rng: Random) -> str:
    """Caption of a scene that differs in shape and in colour, as the demo's mismatches do."""
    return caption(scene.unlike(rng), rng)


def almost(attribute: str) -> Callable[[Scene, Random], str]:
    """Captions of the same scene with one attribute changed, and perhaps not told: hard."""
    return lambda scene, rng: caption(varied(scene, attribute, rng), rng)


@click.command()
@click.option("--weights", type=click.Path(path_type=Path), default=WEIGHTS, show_default=True)
@click.option("--scenes", default=2000, show_default=True)
def main(weights: Path, scenes: int) -> None:
    """Print AUC, and precision and recall at the threshold, on seen and held-out combinations."""
    torch.set_num_threads(2)
    report(TinyClip(weights), scenes, THRESHOLD)


def report(model: TinyClip, count: int, threshold: float) -> None:
    """Print the figures on `count` scenes a line."""
    rng = Random(20_260)
    seen = [training_scene(rng) for _ in range(count)]
    unseen = [held_out_scene(rng) for _ in range(count)]
    kinds: dict[str, Callable[[Scene, Random], str]] = {
        "other shape and colour": unlike,
        "any other scene": another,
        "small talk": lambda _, rng: small_talk(rng),
        **{f"other {attribute} only": almost(attribute) for attribute in CORE},
    }
    for name, scenes in (("seen", seen), ("held out", unseen)):
        trial = Trial(model, scenes)
        for kind, false in kinds.items():
            verdict = trial.against(false)
            click.echo(
                f"{name:9} {kind:23} AUC {verdict.auc:.4f}  best cut {verdict.best_threshold:.3f}  "
                f"at {threshold}: precision {verdict.precision(threshold):.4f} "
                f"recall {verdict.recall(threshold):.4f}"
            )


if __name__ == "__main__":
    main()
