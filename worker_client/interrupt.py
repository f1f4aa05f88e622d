"""`Interrupt`: Ctrl-C finishes the job, a second one hands it back, SIGTERM does so at once."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .progress import Report


class Interrupt:
    """How urgently the volunteer wants the worker to stop; for one event loop."""

    def __init__(self, report: Report) -> None:
        self.finish = asyncio.Event()  #: take no more jobs
        self.abandon = asyncio.Event()  #: hand back the one at hand, too
        self._report = report

    def ask(self) -> None:
        """What Ctrl-C does."""
        if self.finish.is_set():
            self.order()
            return
        self._report.say(
            "stopping after this job; press Ctrl-C again to hand it back and stop at once"
        )
        self.finish.set()

    def order(self) -> None:
        """What SIGTERM does."""
        if not self.abandon.is_set():
            self._report.say("stopping now")
        self.finish.set()
        self.abandon.set()

    async def sleep(self, seconds: float) -> None:
        """Wait, but not once it is time to stop."""
        try:
            async with asyncio.timeout(seconds):
                await self.finish.wait()
        except TimeoutError:
            return

    @contextmanager
    def listening(self) -> Iterator[None]:
        """React to signals; in the main thread, with the loop running."""
        loop = asyncio.get_running_loop()

        def on(number: signal.Signals, act: Callable[[], None]) -> None:
            # not loop.add_signal_handler, which Windows lacks
            before[number] = signal.signal(number, lambda *_: loop.call_soon_threadsafe(act))

        before: dict[signal.Signals, object] = {}
        on(signal.SIGINT, self.ask)
        on(signal.SIGTERM, self.order)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)  # type: ignore[arg-type]


@contextmanager
def stopping(stop: threading.Event) -> Iterator[None]:
    """Without an event loop: Ctrl-C and SIGTERM set `stop`; a second one ends the program."""

    def on_signal(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {n: signal.signal(n, on_signal) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
