"""The command line. What a command needs is imported when it runs, so that `--help` is quick."""

import logging
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from laion_protocol import PRODUCTION_MODEL, ModelSpec, SourceKind, Stage

from . import __version__
from .exit_codes import ExitCode
from .network_options import network_options
from .recipe_options import FIELDS, recipe_from, recipe_options
from .stages import stages_of

if TYPE_CHECKING:
    from .pipeline.chain import ChainOptions

#: How long `process` waits for a server that does not answer; a tracker's job waits longer.
_PROCESS_PATIENCE = 20.0


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="laion-worker")
@click.option("-v", "--verbose", is_flag=True, help="say more, also where a fault comes from")
@click.pass_context
def cli(context: click.Context, verbose: bool) -> None:
    """Lend this computer to build an open image-text dataset from Common Crawl.

    Exit status: 0 done, 64 wrong use, 65 wrong data, 66 no such file, 69 not reachable now,
    70 a fault of this program, 71 too little memory, 73 output refused, 74 disk full, 75 already
    running, 77 no or wrong token, 78 wrong configuration, 130 stopped.
    """
    context.obj = verbose
    logging.basicConfig(level=logging.DEBUG if verbose else logging.CRITICAL, stream=sys.stderr)


@cli.command()
@click.argument("location", metavar="FILE_OR_URL")
@click.option(
    "--out", "out", required=True, type=click.Path(path_type=Path), help="the shard's directory"
)
@click.option(
    "--kind",
    type=click.Choice([kind.value for kind in SourceKind]),
    help="what the file is  [default: by its name]",
)
@click.option("--part", type=click.IntRange(1), default=1, help="which part, from 1")
@click.option(
    "--parts", type=click.IntRange(1, 10_000), default=1, help="cut the file into so many"
)
@click.option("--architecture", help="a model that open_clip knows")
@click.option("--pretrained", help="open_clip's name for its weights")
@click.option("--model-config", type=click.Path(path_type=Path), help="open_clip config (JSON)")
@click.option("--model-weights", type=click.Path(path_type=Path), help="weights (safetensors)")
@click.option("--keep-all", is_flag=True, help="keep what similarity or safety would drop")
@click.option("--json", "as_json", is_flag=True, help="summary as JSON")
@network_options
@recipe_options
def process(
    location: str,
    out: Path,
    kind: str | None,
    part: int,
    parts: int,
    architecture: str | None,
    pretrained: str | None,
    model_config: Path | None,
    model_weights: Path | None,
    keep_all: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Turn one WARC or WAT file into a shard, without a tracker."""
    from . import process as one
    from .pipeline.model_files import ModelFiles
    from .pipeline.source import Chunk
    from .progress import standard_report
    from .summary import show

    if part > parts:
        raise click.BadParameter(f"{part} is more than --parts {parts}", param_hint="--part")
    files: ModelFiles | None = None
    if (model_config is None) != (model_weights is None):
        raise click.UsageError("--model-config and --model-weights go together; give both")
    if model_config is not None and model_weights is not None:
        if architecture or pretrained:
            raise click.UsageError("give the model as files or by name, not both")
        files = ModelFiles(model_config, model_weights)
        model = one.spec_of_files(files)
    elif architecture or pretrained:
        if not (architecture and pretrained):
            raise click.UsageError("--architecture and --pretrained go together; give both")
        model = ModelSpec(architecture=architecture[:100], pretrained=pretrained[:100])
    else:
        model = PRODUCTION_MODEL
    recipe = recipe_from(
        SourceKind(kind) if kind else one.kind_of(location),
        model,
        {name: options.pop(name) for name in FIELDS},
    )
    manifest = one.process(
        Chunk(location, part - 1, parts),
        recipe,
        files,
        out,
        _chain_options(**options, keep_all=keep_all, patience=_PROCESS_PATIENCE),
        standard_report(),
    )
    show(manifest, out, as_json=as_json)


@cli.command()
@click.option("--tracker", envvar="LAION_WORKER_TRACKER", help="the tracker's URL")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help="file that holds your token  [default: LAION_WORKER_TOKEN, or the configuration file]",
)
@click.option("--worker", "name", help="this machine's name  [default: its host name]")
@click.option("--state-dir", type=click.Path(path_type=Path), help="where unfinished work lies")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="configuration file  [default: laion-worker/config.toml where yours are]",
)
@click.option(
    "--local-sources",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="where the tracker may have archives read from this disk  [default: nowhere]",
)
@click.option(
    "--stages",
    metavar="auto|STAGE,…",
    help="what to do of a job: all of it (hybrid), all but the model (fetch), the model only, on "
    "what others fetched (score), or several of these  [default: auto, by this machine]",
)
@click.option("--jobs", type=click.IntRange(1), help="stop after so many jobs")
@click.option("--once", is_flag=True, help="the same as --jobs 1")
@network_options
def run(
    tracker: str | None,
    token_file: Path | None,
    name: str | None,
    state_dir: Path | None,
    config_file: Path | None,
    local_sources: Path | None,
    stages: str | None,
    jobs: int | None,
    once: bool,
    contact: str | None,
    **options: Any,
) -> None:
    """Work for a tracker until stopped.

    Ctrl-C finishes the job at hand; a second Ctrl-C, or SIGTERM, hands it back.
    """
    import asyncio

    from .progress import standard_report
    from .settings import (
        WorkerSettings,
        config_path,
        default_worker_name,
        open_to_others,
        read_config,
        read_token,
        state_path,
    )
    from .worker import work

    report = standard_report()
    path = config_file or config_path()
    config = read_config(path)
    address = tracker or config.get("tracker")
    if not address:
        raise click.UsageError(f"--tracker is missing, and {path} names none; ask your project")
    for secret in (token_file, path if "token" in config else None):
        if secret is not None and open_to_others(secret):
            report.say(f"other users of this machine can read {secret}; `chmod 600` it")
    if local_sources is None and config.get("local_sources"):
        local_sources = Path(config["local_sources"]).expanduser()
    worker = name or config.get("worker") or default_worker_name()
    _check_name(worker)
    settings = WorkerSettings(
        tracker=address,
        token=read_token(token_file, config),
        worker=worker,
        state=state_dir or Path(config.get("state_dir") or state_path()).expanduser(),
        options=_chain_options(**options, contact=contact or config.get("contact")),
        most_jobs=1 if once else jobs,
        local_sources=local_sources,
        stages=_stages(stages, config.get("stages"), path),
    )
    asyncio.run(work(settings, report))


def main() -> NoReturn:
    """Run the command line; no traceback leaves it, unless it was asked for by --verbose."""
    verbose = "--verbose" in sys.argv or "-v" in sys.argv
    try:
        cli.main(prog_name="laion-worker", standalone_mode=False)
    except click.exceptions.Exit as exit:
        sys.exit(exit.exit_code)
    except click.ClickException as error:
        click.echo(f"laion-worker: {error.format_message()}", err=True)
        if isinstance(error, click.UsageError) and error.ctx is not None:
            click.echo(f"Try `{error.ctx.command_path} --help`.", err=True)
        sys.exit(ExitCode.USAGE)
    except (click.Abort, KeyboardInterrupt):
        click.echo("laion-worker: stopped", err=True)
        sys.exit(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # whoever read our output is gone; keep the interpreter from flushing into the void
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.OK)
    except Exception as error:  # noqa: BLE001 (the edge: every fault becomes a sentence)
        sys.exit(_explain(error, verbose))
    sys.exit(ExitCode.OK)


def _explain(error: Exception, verbose: bool) -> ExitCode:
    from .errors import trouble_of

    if verbose:
        traceback.print_exception(error)
    trouble = trouble_of(error)
    click.echo(f"laion-worker: {trouble.message}", err=True)
    return trouble.exit_code


def _chain_options(
    *,
    contact: str | None,
    connect_to: tuple[str, int] | None,
    allow_private: tuple[tuple[str, int], ...],
    decoders: int,
    batch_size: int | None,
    keep_all: bool = False,
    patience: float | None = None,
) -> "ChainOptions":
    from datetime import timedelta

    from .pipeline.chain import ChainOptions
    from .settings import DEFAULT_CONTACT, user_agent

    if contact is not None and not (contact.isprintable() and contact.strip()):
        raise click.BadParameter("it must be one printable word", param_hint="--contact")
    options = ChainOptions(
        user_agent=user_agent(contact or DEFAULT_CONTACT),
        decode_processes=decoders,
        batch_size=batch_size,
        keep_all=keep_all,
        # Whoever names the stand-in wants it reached, on loopback or not.
        allow_private=frozenset(allow_private) | ({connect_to} if connect_to else set()),
        connect_to=connect_to,
    )
    if patience is None:
        return options
    from dataclasses import replace

    return replace(options, source_patience=timedelta(seconds=patience))


def _stages(option: str | None, configured: str | None, config: Path) -> tuple[Stage, ...] | None:
    from .errors import BadConfig

    try:
        return stages_of(option or configured or "auto")
    except ValueError as error:
        if option:
            raise click.BadParameter(str(error), param_hint="--stages") from error
        raise BadConfig(f"{config}: `stages`: {error}") from error


def _check_name(worker: str) -> None:
    from pydantic import TypeAdapter, ValidationError

    from laion_protocol.messages import Name

    try:
        TypeAdapter(Name).validate_python(worker)
    except ValidationError as error:
        raise click.BadParameter(
            f"{worker!r} is not 1 to 64 letters, digits, dots, dashes or underscores",
            param_hint="--worker",
        ) from error
