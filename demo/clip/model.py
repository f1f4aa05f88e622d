"""Loads the tiny CLIP through open_clip, as a worker loads any model, and compares with it."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import open_clip
import torch
from PIL import Image

from demo.clip import CONFIG, WEIGHTS


class TinyClip:
    """open_clip's model, preprocessing and tokenizer, read from a config and weights."""

    def __init__(self, weights: Path = WEIGHTS, config: Path = CONFIG) -> None:
        # open_clip's `local-dir:` schema wants these two names, in one directory
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "open_clip_config.json").symlink_to(config.resolve())
            (Path(folder) / "open_clip_model.safetensors").symlink_to(weights.resolve())
            name = f"local-dir:{folder}"
            # without `require_pretrained`, open_clip would go on with random weights
            model, _, self._preprocess = open_clip.create_model_and_transforms(
                name, require_pretrained=True
            )
            self._tokenize = open_clip.get_tokenizer(name)
        self._model = model.eval()

    @torch.inference_mode()
    def images(self, pictures: Sequence[Image.Image]) -> torch.Tensor:
        """One L2-normalised embedding a picture."""
        batch = torch.stack([self._preprocess(picture) for picture in pictures])
        embeddings: torch.Tensor = self._model.encode_image(batch, normalize=True)
        return embeddings

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """One L2-normalised embedding a text."""
        embeddings: torch.Tensor = self._model.encode_text(
            self._tokenize(list(texts)), normalize=True
        )
        return embeddings

    def similarities(self, pictures: Sequence[Image.Image], texts: Sequence[str]) -> list[float]:
        """The cosine of each picture with the text of the same index."""
        cosines: list[float] = (self.images(pictures) * self.texts(texts)).sum(1).tolist()
        return cosines
