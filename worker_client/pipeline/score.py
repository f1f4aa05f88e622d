"""`Scorer`: does the picture belong to its text, and may it be shown?"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from laion_protocol import DropReason, Recipe
from worker_client.samples import Decoded, Dropped, Sample

from .model_files import OutOfMemory
from .safety import PROMPTS, Tag, Verdict, judge
from .score_model import LoadedModel
from .score_text import TextEncoder

#: Pictures in one forward pass: enough to fill the device, few enough for a small one.
_GPU_BATCH = 256
_CPU_BATCH = 32
#: Batches that must go well before a shrunken batch grows again.
_GROW_AFTER = 16


class Scorer:
    """Scores one shard's pictures in batches.

    Args:
        model: from `score_model.load`.
        recipe: `min_similarity`, `safety` and `embeddings` are read.
        batch_size: pictures in one forward pass; by device if not given.
        keep_all: keep pairs under the threshold and unsafe ones too, to look at them.
    """

    def __init__(
        self,
        model: LoadedModel,
        recipe: Recipe,
        *,
        batch_size: int | None = None,
        keep_all: bool = False,
    ) -> None:
        self._model = model
        self._recipe = recipe
        self._keep_all = keep_all
        self._most = batch_size or (_CPU_BATCH if model.device.type == "cpu" else _GPU_BATCH)
        self._batch_size = self._most
        self._went_well = 0
        self._texts = TextEncoder(model.clip, model.tokenizer, model.device)
        self._prompts: Tensor | None = None
        self._mean = torch.tensor(model.mean, device=model.device).view(1, 3, 1, 1)
        self._std = torch.tensor(model.std, device=model.device).view(1, 3, 1, 1)

    def score(self, items: Iterable[Decoded | Dropped]) -> Iterator[Sample | Dropped]:
        """Each picture as a sample, or dropped; what was dropped before passes through.

        Raises:
            OutOfMemory: not even one picture fits.
        """
        batch: list[Decoded] = []
        for item in items:
            if isinstance(item, Dropped):
                yield item
                continue
            batch.append(item)
            while len(batch) >= self._batch_size:  # which may shrink meanwhile
                yield from self._next(batch)
        while batch:
            yield from self._next(batch)

    def _next(self, waiting: list[Decoded]) -> Iterator[Sample | Dropped]:
        """Score as many as fit, and take them off the list."""
        while True:
            batch = waiting[: self._batch_size]
            try:
                images = self._embed(batch)
                texts = self._texts.encode([decoded.pair.text for decoded in batch])
                similarities = (images * texts).sum(dim=-1).cpu().numpy()
                verdicts = self._verdicts(images, batch)
                embeddings = images.half().cpu().numpy() if self._recipe.embeddings else None
                break
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
                self._shrink(error)
        del waiting[: len(batch)]
        self._grow()
        for row, (decoded, verdict) in enumerate(zip(batch, verdicts, strict=True)):
            similarity = float(similarities[row])
            embedding = None if embeddings is None else embeddings[row]
            # "not >=": a similarity that is not a number does not pass
            if not (self._keep_all or similarity >= self._recipe.min_similarity):
                yield Dropped(decoded.pair, DropReason.SIMILARITY)
            elif verdict.drop and not self._keep_all:
                yield Dropped(decoded.pair, DropReason.UNSAFE)
            else:
                yield Sample(decoded, similarity, str(verdict.tag), embedding)

    @torch.inference_mode()
    def _embed(self, batch: list[Decoded]) -> Tensor:
        """L2-normalised image embeddings, float32."""
        pixels = torch.from_numpy(np.stack([decoded.pixels for decoded in batch]))
        pixels = pixels.to(self._model.device).permute(0, 3, 1, 2).float() / 255
        pixels = ((pixels - self._mean) / self._std).to(self._model.dtype)
        features: Tensor = self._model.clip.encode_image(pixels)
        return normalize(features.float(), dim=-1)

    @torch.inference_mode()
    def _verdicts(self, images: Tensor, batch: list[Decoded]) -> list[Verdict]:
        if not self._recipe.safety:
            return [Verdict(Tag.UNTAGGED, drop=False)] * len(batch)
        if self._prompts is None:
            self._prompts = self._texts.encode([prompt.text for prompt in PROMPTS])
        scores = (images @ self._prompts.T).cpu().numpy()
        return [judge(row, decoded.pair.text) for row, decoded in zip(scores, batch, strict=True)]

    def _shrink(self, error: RuntimeError) -> None:
        if self._batch_size == 1:
            raise OutOfMemory(
                f"the model does not fit into the memory of {self._model.device}; "
                "free some memory and start again"
            ) from error
        self._batch_size = self._batch_size // 2
        self._went_well = 0
        if self._model.device.type == "cuda":
            torch.cuda.empty_cache()

    def _grow(self) -> None:
        self._went_well += 1
        if self._went_well >= _GROW_AFTER and self._batch_size < self._most:
            self._batch_size = min(self._most, self._batch_size * 2)
            self._went_well = 0


def _is_out_of_memory(error: RuntimeError) -> bool:
    # torch has a class for it on GPUs; its CPU allocator raises a plain RuntimeError
    return isinstance(error, torch.OutOfMemoryError) or "alloc" in str(error).lower()
