"""`Report`: what the volunteer reads while the worker works, on standard error.

On a terminal one live line; elsewhere a line with the time, now and then.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import IO, Protocol

from .meter import Meter

#: Seconds between two lines about one job, where there is no terminal.
_EVERY = 30.0


class Report(Protocol):
    """Tells a person what goes on."""

    def say(self, sentence: str) -> None:
        """One thing that happened."""

    def watching(self, meter: Meter, what: str) -> AbstractContextManager[None]:
        """Show how far `what` is, as long as the block lasts."""


def report_to(stream: IO[str]) -> Report:
    """The kind of report that suits the stream."""
    return LiveReport(stream) if stream.isatty() else PlainReport(stream)


class PlainReport:
    """Lines with the time, for logs and pipes."""

    def __init__(self, stream: IO[str], *, every: float = _EVERY) -> None:
        self._stream = stream
        self._every = every

    def say(self, sentence: str) -> None:
        """Write one line."""
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        self._stream.write(f"{now} {sentence}\n")
        self._stream.flush()

    @contextmanager
    def watching(self, meter: Meter, what: str) -> Iterator[None]:
        """A line every half a minute."""
        done = threading.Event()
        started = time.monotonic()

        def tell() -> None:
            while not done.wait(self._every):
                self.say(f"{what}: {progress_line(meter, time.monotonic() - started)}")

        teller = threading.Thread(target=tell, name="progress", daemon=True)
        teller.start()
        try:
            yield
        finally:
            done.set()
            teller.join()


class LiveReport:
    """One line that changes, below the lines that stay."""

    def __init__(self, stream: IO[str]) -> None:
        from rich.console import Console

        self._console = Console(file=stream, highlight=False)

    def say(self, sentence: str) -> None:
        """Write one line above the live one."""
        self._console.print(sentence, markup=False)

    @contextmanager
    def watching(self, meter: Meter, what: str) -> Iterator[None]:
        """Four glances a second."""
        from rich.live import Live
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        started = time.monotonic()
        spinner = Spinner("dots")

        def line() -> Table:
            grid = Table.grid(padding=(0, 1))
            text = f"{what}: {progress_line(meter, time.monotonic() - started)}"
            grid.add_row(spinner, Text(text, overflow="ellipsis", no_wrap=True))
            return grid

        with Live(get_renderable=line, console=self._console, transient=True):
            yield


def progress_line(meter: Meter, seconds: float) -> str:
    """Where a job stands, in one line."""
    tally = meter.tally
    rate = tally.pairs / seconds if seconds > 1 else 0.0
    return (
        f"{meter.stage or 'start'} · {tally.pages} pages · {tally.pairs} pairs · "
        f"{meter.downloaded} images · {tally.kept} kept · {rate:.0f} pairs/s"
    )


def standard_report() -> Report:
    """A report to standard error."""
    return report_to(sys.stderr)
