"""What a person reads after `laion-worker process`: where every pair went."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from laion_protocol import Manifest


def show(manifest: Manifest, directory: Path, *, as_json: bool) -> None:
    """Write the summary to standard output: JSON, a table on a terminal, or plain lines."""
    if as_json:
        whole = {"directory": str(directory), **manifest.model_dump(mode="json")}
        click.echo(json.dumps(whole))
    elif sys.stdout.isatty():
        _show_table(manifest, directory)
    else:
        for name, value in _rows(manifest):
            click.echo(f"{name}: {value}")
        click.echo(f"shard: {directory}")
    counts = manifest.counts
    if counts.records and not counts.pages:
        click.echo(
            f"none of the {counts.records} records is a page; if there should be some, "
            "check --kind (warc or wat)",
            err=True,
        )


def _rows(manifest: Manifest) -> Iterator[tuple[str, str]]:
    counts = manifest.counts
    yield "records read", str(counts.records)
    yield "pages", str(counts.pages)
    yield "pairs", str(counts.pairs)
    yield "kept", str(counts.kept)
    for reason, number in sorted(counts.drops.items(), key=lambda drop: (-drop[1], drop[0])):
        yield f"dropped, {reason}", str(number)
    for kind, number in sorted(counts.damage.items()):
        yield f"damaged, {kind}", str(number)
    yield "bytes", str(sum(file.size for file in manifest.files))
    yield "seconds", f"{manifest.seconds:.1f}"


def _show_table(manifest: Manifest, directory: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None)
    table.add_column()
    table.add_column(justify="right")
    for name, value in _rows(manifest):
        table.add_row(name, value)
    console = Console(highlight=False)
    console.print(table)
    console.print(f"shard: {directory}", markup=False)
