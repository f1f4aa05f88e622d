"""`TextEncoder`: texts into embeddings, each distinct text once, cut to its real length."""

from collections.abc import Callable, Sequence
from typing import Any

import open_clip
import torch
from torch import Tensor
from torch.nn.functional import normalize

#: CLIP reads 77 tokens at most. The tokenizer's time grows with the square of a word's length, so
#: a text (up to 2,000 characters, perhaps one word) is cut before; the tail is past the 77th token
#: in all but made-up words.
_MOST_CHARS = 1_000
#: Embeddings kept: 512 floats each, so about 40 MB.
_CACHE_TEXTS = 20_000
#: `SimpleTokenizer` remembers each word for ever; forget them before they fill the memory.
_TOKENIZER_WORDS = 200_000
#: Texts in one forward pass.
_BATCH = 256

Tokenizer = Callable[[list[str]], Tensor]


class TextEncoder:
    """Embeds texts with a model's text tower.

    Alt texts average 12 of 77 tokens. In a causal tower no token sees a later one, so that cutting
    the padding off changes nothing; any other tower gets its full length.
    """

    def __init__(self, model: torch.nn.Module, tokenizer: Tokenizer, device: torch.device) -> None:
        self._model: Any = model
        self._tokenizer = tokenizer
        self._device = device
        self._cuttable = can_be_cut(model)
        self._cache: dict[str, Tensor] = {}

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """L2-normalised embeddings, float32 on the model's device, a row for each text."""
        new = [text for text in dict.fromkeys(texts) if text not in self._cache]
        fresh = dict(zip(new, self._forward(new), strict=True)) if new else {}
        rows = torch.stack([fresh[t] if t in fresh else self._cache[t] for t in texts])
        self._cache.update(fresh)
        while len(self._cache) > _CACHE_TEXTS:
            del self._cache[next(iter(self._cache))]  # the oldest
        return rows

    def _forward(self, texts: list[str]) -> list[Tensor]:
        cache = getattr(self._tokenizer, "cache", None)
        if isinstance(cache, dict) and len(cache) > _TOKENIZER_WORDS:
            cache.clear()
        tokens = self._tokenizer([text[:_MOST_CHARS] for text in texts])
        if not self._cuttable:
            parts = [
                self._model.encode_text(batch.to(self._device), normalize=True).float()
                for batch in torch.split(tokens, _BATCH)
            ]
            return list(torch.cat(parts))
        lengths = _pooled_position(self._model, tokens) + 1
        order = lengths.argsort()
        rows: list[Tensor] = [torch.empty(0)] * len(texts)
        for chunk in torch.split(order, _BATCH):
            longest = int(lengths[chunk].max())
            batch = tokens[chunk, :longest].to(self._device)
            for index, row in zip(chunk.tolist(), encode_cut(self._model, batch), strict=True):
                rows[index] = row
        return rows


def can_be_cut(model: torch.nn.Module) -> bool:
    """Whether padding can be cut without any effect: a causal tower that pools at a token."""
    return (
        type(model) is open_clip.CLIP
        and model.attn_mask is not None
        and model.text_pool_type in ("argmax", "eos")
    )


def encode_cut(model: Any, tokens: Tensor) -> Tensor:
    """What `encode_text(normalize=True)` gives, for tokens (batch, length ≤ context) without their
    padding; open_clip 3.3 takes the full context only."""
    length = tokens.shape[1]
    dtype = model.transformer.get_cast_dtype()
    x = model.token_embedding(tokens).to(dtype) + model.positional_embedding[:length].to(dtype)
    x = model.transformer(x, attn_mask=model.attn_mask[:length, :length])
    x = model.ln_final(x)
    pooled = x[torch.arange(len(x), device=x.device), _pooled_position(model, tokens)]
    projection = model.text_projection
    if isinstance(projection, torch.nn.Linear):
        pooled = projection(pooled)
    elif projection is not None:
        pooled = pooled @ projection
    return normalize(pooled.float(), dim=-1)


def _pooled_position(model: Any, tokens: Tensor) -> Tensor:
    """Where the tower reads its answer: the end-of-text token, for both kinds of pooling."""
    if model.text_pool_type == "eos":
        tokens = (tokens == int(model.text_eos_id)).int()
    return tokens.argmax(dim=-1)
