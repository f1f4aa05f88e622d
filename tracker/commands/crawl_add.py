"""`tracker crawl add`: what can be known to be wrong is refused here, before any worker tries."""

import hashlib
import os
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from pydantic import ValidationError

from laion_protocol import PRODUCTION_MODEL, ModelSpec, Recipe, SourceKind
from laion_protocol.client import TrackerClient
from laion_protocol.messages import CrawlAdded, NewCrawl
from laion_protocol.wording import problem
from tracker.crawls import UnreadableList, absolute_base, read_paths
from tracker.model_check import NoModel, check_config, check_pretrained, check_weights

from .output import Answer, prints
from .session import INPUT, Failed, to_tracker
from .words import BASE, NAME

_F = TypeVar("_F", bound=Callable[..., Any])

#: These two have options of their own.
_OWN_OPTIONS: Final = ("kind", "model")


def _split(_context: click.Context, _option: click.Parameter, text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _recipe_options(command: _F) -> _F:
    """One option for each field of `Recipe`, so that none is ever forgotten."""
    for name, field in reversed(Recipe.model_fields.items()):
        if name in _OWN_OPTIONS:
            continue
        flag, origin = name.replace("_", "-"), typing.get_origin(field.annotation)
        if origin is tuple:
            option = click.option(
                f"--{flag}", name, default=",".join(field.default), show_default=True,
                help=field.description or "Separated by commas.",
                callback=_split,
            )  # fmt: skip
        else:
            switch = field.annotation is bool
            kind = None if switch else typing.cast("type[Any]", field.annotation)
            option = click.option(
                f"--{flag}/--no-{flag}" if switch else f"--{flag}", name, type=kind,
                default=field.default, show_default=True, help=field.description,
            )  # fmt: skip
        command = option(command)
    return command


@click.command("add")
@click.argument("name", type=NAME)
@click.option("--paths", required=True, metavar="FILE_OR_URL", help="One path a line; may be .gz.")
@click.option(
    "--base", required=True, type=BASE, metavar="URL_OR_DIR", help="What the paths are relative to."
)
@click.option("--kind", required=True, type=click.Choice([kind.value for kind in SourceKind]))
@click.option("--parts", default=1, show_default=True, help="Jobs that each file is cut into.")
@click.option("--seed", type=int, help="Of the order of the jobs; random by default.")
@click.option("--architecture", default=PRODUCTION_MODEL.architecture, show_default=True)
@click.option("--pretrained", help="open_clip's name for the weights.")
@click.option("--model-config", type=INPUT, help="open_clip model config (JSON), with weights.")
@click.option("--model-weights", type=INPUT, help="Weights (safetensors), with a config.")
@click.option("--max-attempts", type=int,
              help="That count, until a job is dead; 5 by default.")  # fmt: skip
@click.option("--min-accounts", type=int,
              help="That spent them, until a job is dead; 3 by default.")  # fmt: skip
@_recipe_options
@prints
@to_tracker
def add(
    name: str, paths: str, base: str, kind: str, parts: int, seed: int | None,
    architecture: str, pretrained: str | None,
    model_config: Path | None, model_weights: Path | None,
    max_attempts: int | None, min_accounts: int | None,
    call: Callable[..., Any], **recipe_fields: object,
) -> Answer:  # fmt: skip
    """Add a crawl; adding the same again changes nothing."""
    files = [file for file in (model_config, model_weights) if file is not None]
    if len(files) == 1:
        raise click.UsageError("--model-config and --model-weights go together")
    if files and pretrained:
        raise click.UsageError("name either --pretrained, or --model-config and --model-weights")
    _check_model(architecture, pretrained, files)
    hashes = [_sha256(file) for file in files]
    try:
        model = _model(architecture, pretrained, hashes)
        recipe = Recipe(kind=SourceKind(kind), model=model, **typing.cast("Any", recipe_fields))
        listed = read_paths(paths, base)
        new = NewCrawl(
            name=name, base=absolute_base(base), paths=listed, parts=parts, recipe=recipe,
            seed=seed, max_attempts=max_attempts, min_accounts=min_accounts,
        )  # fmt: skip
    except UnreadableList as error:
        raise Failed(str(error), os.EX_NOINPUT) from error
    except ValidationError as error:
        raise click.UsageError(problem(error, "recipe")) from error

    async def send(client: TrackerClient) -> CrawlAdded:
        for sha256, file in zip(hashes, files, strict=True):
            await client.put_file(sha256, file)
        return await client.add_crawl(new)

    added = call(send)
    said = f"{added.name}: {added.jobs} jobs, recipe {added.recipe_sha256[:12]}"
    return Answer(added, [said])


def _check_model(architecture: str, pretrained: str | None, files: list[Path]) -> None:
    try:
        if files:
            check_config(files[0])
            check_weights(files[1])
        elif pretrained is not None and not check_pretrained(architecture, pretrained):
            click.echo(
                f"not checked: whether open_clip has weights {pretrained!r} of {architecture} "
                "(it is not installed here)",
                err=True,
            )
    except NoModel as error:
        raise Failed(str(error), os.EX_DATAERR) from error


def _model(architecture: str, pretrained: str | None, hashes: list[str]) -> ModelSpec:
    if hashes:
        config, weights = hashes
        return ModelSpec(architecture=architecture, config_sha256=config, weights_sha256=weights)
    if pretrained is None and architecture == PRODUCTION_MODEL.architecture:
        return PRODUCTION_MODEL
    return ModelSpec(architecture=architecture, pretrained=pretrained)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
