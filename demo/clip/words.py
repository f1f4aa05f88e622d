"""The few hundred tokens that training meets, among open_clip's 49,408."""

from dataclasses import dataclass, field
from random import Random
from typing import Self

import torch
from open_clip.tokenizer import SimpleTokenizer

from demo.clip.captions import caption, small_talk
from demo.clip.scenes import training_scene

VOCABULARY = 49_408  #: of open_clip's SimpleTokenizer
UNKNOWN = 0
SAMPLES = 6_000  #: captions to collect words from; half as many already hold every word


@dataclass(slots=True)
class Words:
    """Maps texts to a dense numbering, small enough to train on a CPU in minutes.

    Number 0 stands for every token that no caption has; its embedding is zero, during training and
    in the full table, so that the model knows what to make of any text: nothing. The end-of-text
    token keeps the highest number, since open_clip finds a text's end by `argmax`.
    """

    tokens: list[int]  #: open_clip's numbers, ascending; the dense number is the index plus one
    _tokenizer: SimpleTokenizer = field(default_factory=SimpleTokenizer)
    _dense: dict[int, int] = field(default_factory=dict)
    _cache: dict[str, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._dense = {token: number for number, token in enumerate(self.tokens, start=1)}

    @classmethod
    def of_captions(cls, rng: Random) -> Self:
        """The tokens of captions of training's scenes."""
        tokenizer = SimpleTokenizer()
        texts = {caption(training_scene(rng), rng) for _ in range(SAMPLES)}
        texts |= {small_talk(rng) for _ in range(SAMPLES // 10)}
        tokens = {token for text in texts for token in tokenizer.encode(text)}
        return cls(sorted(tokens | set(tokenizer.all_special_ids)), tokenizer)

    def __len__(self) -> int:
        return len(self.tokens) + 1

    @property
    def start(self) -> int:
        """Number of the token that opens each text."""
        return self._dense[self._tokenizer.sot_token_id]

    @property
    def end(self) -> int:
        """Number of the token that closes each text."""
        return self._dense[self._tokenizer.eot_token_id]

    def numbers(self, text: str) -> list[int]:
        """The text's tokens, without start and end."""
        numbers: list[int] = []
        for word in text.split():  # no token spans a blank, so words can be looked up one by one
            if word not in self._cache:
                tokens = self._tokenizer.encode(word)
                self._cache[word] = [self._dense.get(token, UNKNOWN) for token in tokens]
            numbers += self._cache[word]
        return numbers

    def forget_the_unknown(self, embedding: torch.nn.Embedding) -> None:
        """Make the unknown's embedding zero, and keep it so in training."""
        embedding.padding_idx = UNKNOWN
        with torch.no_grad():
            embedding.weight[UNKNOWN] = 0

    def full_table(self, dense: torch.Tensor) -> torch.Tensor:
        """The embedding table for open_clip's own numbers, zero for all that is unknown."""
        table = dense.new_zeros(VOCABULARY, dense.shape[1])
        table[torch.tensor(self.tokens)] = dense[1:]
        return table
