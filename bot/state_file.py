"""`StateFile`: one small model kept in a file, written whole or not at all."""

import logging
import os
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import ValidationError

from laion_protocol.message import Message

log = logging.getLogger(__name__)

_Model = TypeVar("_Model", bound=Message)


class StateFile(Generic[_Model]):
    """What the bot must remember over a restart; losing it costs convenience, never truth."""

    def __init__(self, path: Path, model: type[_Model]) -> None:
        self._path, self._model = path, model
        self._failing = False

    def load(self) -> _Model | None:
        """What was saved last; None when there is nothing, or nothing readable."""
        try:
            return self._model.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            log.warning("%s cannot be read, starting afresh: %s", self._path, _first_line(error))
            return None

    def save(self, value: _Model) -> None:
        """Replace the file; a crash at any instruction leaves the old one or the new one.

        A full disk is logged, once: the bot can do its work without these files.
        """
        try:
            self._replace(value.model_dump_json().encode())
        except OSError as error:
            if not self._failing:
                log.warning("%s cannot be written: %s", self._path, error)
            self._failing = True
        else:
            self._failing = False

    def _replace(self, content: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_suffix(".new")
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, self._path)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
