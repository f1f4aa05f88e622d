"""A command-line option for each field of `Recipe`, made from the model itself."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, get_origin

import click
from pydantic import ValidationError

from laion_protocol import ModelSpec, Recipe, SourceKind

_Command = TypeVar("_Command", bound=Callable[..., Any])

#: Told in other ways: the kind by the file's name, the model by its own options.
_ELSEWHERE: Final = frozenset({"kind", "model"})
#: For fields whose name says it all to those who wrote the model.
_HELP: Final = {
    "min_similarity": "least cosine of picture and text",
    "min_text_chars": "shorter texts are dropped",
    "max_url_chars": "longer addresses are dropped",
    "honour_opt_out": "obey X-Robots-Tag: noai, noimageai, noindex, noimageindex",
    "formats": "picture formats to keep",
    "min_image_bytes": "smaller files are dropped",
    "max_image_bytes": "larger files are dropped, and not read to their end",
    "min_side": "drop pictures with a side shorter than this many pixels",
    "max_pixels": "drop pictures with more",
}
FIELDS: Final = tuple(name for name in Recipe.model_fields if name not in _ELSEWHERE)


def recipe_options(command: _Command) -> _Command:
    """Add the options to a click command; they come in under the fields' names."""
    for name in reversed(FIELDS):
        field = Recipe.model_fields[name]
        flag = "--" + name.replace("_", "-")
        words = _HELP.get(name) or field.description or name.replace("_", " ")
        default = field.default
        if field.annotation is bool:
            option = click.option(
                f"{flag}/--no-{flag[2:]}", name, default=default, show_default=True, help=words
            )
        elif get_origin(field.annotation) is tuple:
            shown = ",".join(default)
            option = click.option(
                flag, name, default=shown, show_default=bool(shown), metavar="A,B,…", help=words
            )
        else:
            option = click.option(
                flag, name, type=field.annotation, default=default, show_default=True, help=words
            )
        command = option(command)
    return command


def recipe_from(kind: SourceKind, model: ModelSpec, values: Mapping[str, Any]) -> Recipe:
    """The recipe that the options spell.

    Raises:
        click.BadParameter: a value is out of the field's bounds; the message names the option.
    """
    fields: dict[str, Any] = {}
    for name in FIELDS:
        value = values[name]
        if get_origin(Recipe.model_fields[name].annotation) is tuple:
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        fields[name] = value
    try:
        return Recipe(kind=kind, model=model, **fields)
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][0]).replace("_", "-") if first["loc"] else "the recipe"
        raise click.BadParameter(f"{first['msg']}", param_hint=option) from error
