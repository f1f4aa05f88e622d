"""Names as they are typed: what cannot be one is wrong usage, before anybody is asked."""

from typing import Any, Final

import click
from pydantic import TypeAdapter, ValidationError

from laion_protocol.messages import ActionId, CrawlBase, JobId, Name, Reason
from laion_protocol.wording import problem

_SHOWN: Final = 80


class Word(click.ParamType):  # type: ignore[type-arg]
    """Text that the protocol's type `kind` takes."""

    def __init__(self, name: str, kind: Any) -> None:
        self.name = name
        self._kind: TypeAdapter[str] = TypeAdapter(kind)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """As it is."""
        try:
            return self._kind.validate_python(value)
        except ValidationError as error:
            self.fail(problem(error, repr(value)[:_SHOWN]), param, ctx)


NAME: Final = Word("name", Name)
JOB: Final = Word("job", JobId)
ACTION: Final = Word("action", ActionId)
REASON: Final = Word("text", Reason)
BASE: Final = Word("url_or_dir", CrawlBase)
