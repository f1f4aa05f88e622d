"""`python -m demo`: the whole project on one machine, from an empty directory to a verdict."""

import asyncio
import json
import shutil
import signal
import sys
from pathlib import Path

import click
from rich.console import Console

from .children import ChildFailed
from .report import result_table
from .story import FULL, SMALL, Scale, Story


@click.command()
@click.option("--small", is_flag=True, help="Four jobs only, for tests.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo-run"),
    show_default=True,
    help="Emptied first; archives, logs, and the tracker's data are left there.",
)
def main(small: bool, directory: Path) -> None:
    """Crawl a miniature web with a real tracker and three real workers, and compare with the truth.

    Exits with 0 only if everything that must hold does.
    """
    console = Console(stderr=False, soft_wrap=True)
    try:
        _empty(directory)
    except FileExistsError as error:
        raise click.ClickException(str(error)) from error
    try:
        sys.exit(asyncio.run(_run(SMALL if small else FULL, directory.resolve(), console)))
    except asyncio.CancelledError:
        sys.exit(128 + signal.SIGTERM)


async def _run(scale: Scale, directory: Path, console: Console) -> int:
    task = asyncio.current_task()
    assert task is not None
    # SIGTERM ends the children as Ctrl-C does
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        result = await Story(scale, directory, console).run()
    except ChildFailed as error:
        console.print(f"The demo failed: {error}", markup=False, highlight=False)
        return 1
    console.print(result_table(result))
    faults = result.faults()
    for fault in faults:
        console.print(f"[bold red]Fault:[/] {fault}.")
    click.echo(f"DEMO {json.dumps(result.as_json())}")
    return 1 if faults else 0


def _empty(directory: Path) -> None:
    """Make the directory new.

    Raises:
        FileExistsError: it holds something that no demo has left there.
    """
    mark = directory / ".laion-demo"
    if directory.exists() and any(directory.iterdir()) and not mark.exists():
        raise FileExistsError(
            f"{directory} is not empty and no demo has made it; choose another --directory"
        )
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    mark.touch()


if __name__ == "__main__":
    main()
