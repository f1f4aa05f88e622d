"""`LazyModel`: the recipe's model, loaded when the first picture asks for it."""

from typing import TYPE_CHECKING, Final

from laion_protocol import ModelSpec

from .model_files import ModelFiles

if TYPE_CHECKING:
    from .score_model import LoadedModel

#: What a manifest says of a model that is known by its name only, and that nothing asked for.
NO_MODEL: Final = "0" * 64


class LazyModel:
    """Loads at most once; importing torch alone takes seconds.

    Args:
        spec: as the recipe has it.
        files: for a spec that names hashes.
    """

    def __init__(self, spec: ModelSpec, files: ModelFiles | None = None) -> None:
        self.spec = spec
        self._files = files
        self._model: LoadedModel | None = None

    def load(self) -> "LoadedModel":
        """The model itself.

        Raises:
            ModelUnavailable, ModelUnusable: see `score_model.load`.
        """
        if self._model is None:
            from .score_model import load

            self._model = load(self.spec, self._files)
        return self._model

    @property
    def weights_sha256(self) -> str:
        """Of the weights file; `NO_MODEL` as long as nobody has loaded a model known by name."""
        if self._model is not None:
            return self._model.weights_sha256
        return self.spec.weights_sha256 or NO_MODEL
