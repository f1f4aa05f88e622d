"""A module that is imported when a test first uses it.

Every process that runs tests reads every test file; torch costs seconds, and few files need it.
"""

from importlib import import_module
from typing import Any


class Late:
    """Stands for the module of this name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # pytest looks at all that a file holds
            raise AttributeError(name)
        return getattr(import_module(self._name), name)
