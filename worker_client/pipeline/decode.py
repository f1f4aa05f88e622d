"""`Decoder`: the decode stage. Bodies go in, the model's pictures or named reasons come out.

Pictures are opened in confined processes (see `confined`): one that hangs, crashes or asks for too
much memory costs itself only, as `decode_limit`.
"""

import queue
import threading
from collections.abc import Iterable, Iterator
from time import monotonic
from types import TracebackType
from typing import Final, Self

from laion_protocol import DropReason, Recipe

from ..samples import Decoded, Dropped, Fetched
from .ahead import Crew, run_ahead
from .budget import Budget
from .confined.picture import FORMATS
from .confined.wire import Guards, Rules
from .decode_process import DecodeProcess, DecoderDied, DecoderUnavailable

__all__ = ["Decoder", "DecoderUnavailable"]

_Result = Decoded | Dropped

#: Address space of a decoder: Python, Pillow and its codecs, and 16 bytes for each pixel, since
#: four copies of four bytes meet at the worst moment (codec's buffers, picture, its resize).
_BASE_MEMORY: Final = 512 * 2**20
_MEMORY_PER_PIXEL: Final = 16
#: Held beyond what is being decoded: enough to keep the processes busy while a batch is scored.
_AHEAD_PER_PROCESS: Final = 16
_AHEAD_RESULTS: Final = 256
_AHEAD_BYTES: Final = 64 * 2**20
#: Seconds between two looks at the deadlines.
_WATCH: Final = 0.1


class Decoder:
    """Opens pictures in `processes` confined processes, by the recipe's rules, for one model.

    A context manager; processes start with the first picture and serve any number of `decode`s.
    """

    def __init__(
        self,
        recipe: Recipe,
        size: int,
        *,
        processes: int,
        deadline: float = 10.0,
        memory: int | None = None,
    ) -> None:
        """`size` is the side of the model's picture, `deadline` seconds for one picture.

        `memory` is the address space of each process in bytes; by the recipe's max_pixels if None.

        Raises:
            ValueError: the recipe names a format that this worker cannot decode.
        """
        unknown = [name for name in recipe.formats if name not in FORMATS]
        if unknown:
            raise ValueError(
                f"the recipe's format {unknown[0]!r} is none of {', '.join(FORMATS)}; "
                "update the worker"
            )
        self._deadline = deadline
        self._rules = Rules(
            size=size,
            formats=recipe.formats,
            max_pixels=recipe.max_pixels,
            min_side=recipe.min_side,
            memory=memory or _BASE_MEMORY + _MEMORY_PER_PIXEL * recipe.max_pixels,
            seconds=deadline,
        )
        self._jobs: queue.SimpleQueue[tuple[Fetched, _Batch] | None] = queue.SimpleQueue()
        self._processes: dict[int, DecodeProcess] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._keepers = [
            threading.Thread(
                target=self._keep, args=(number,), name=f"decode-{number}", daemon=True
            )
            for number in range(max(1, processes))
        ]
        self._watchdog = threading.Thread(target=self._watch, name="decode-watch", daemon=True)

    def __enter__(self) -> Self:
        for thread in (*self._keepers, self._watchdog):
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        for _ in self._keepers:
            self._jobs.put(None)
        with self._lock:
            for process in self._processes.values():
                process.kill()
        for thread in (*self._keepers, self._watchdog):
            thread.join()

    @property
    def guards(self) -> tuple[Guards, ...]:
        """What each running process is confined by."""
        with self._lock:
            return tuple(process.guards for process in self._processes.values())

    @property
    def process_ids(self) -> tuple[int, ...]:
        """The operating system's numbers of the processes that run now."""
        with self._lock:
            return tuple(process.pid for process in self._processes.values())

    def decode(self, items: Iterable[Fetched | Dropped]) -> Iterator[Decoded | Dropped]:
        """One result for each item, in the order in which they get ready.

        Pulls from `items` in the caller's thread and only while there is room.

        Raises:
            DecoderUnavailable: no process can be started on this machine.
        """
        batch = _Batch(self._jobs, len(self._keepers))
        crew: Crew[Fetched, _Result] = batch
        try:
            yield from run_ahead(items, crew)
        finally:
            batch.closed = True

    def _keep(self, number: int) -> None:
        """A keeper's thread: feed one process; replace it when it dies or is worn."""
        process: DecodeProcess | None = None
        while (job := self._jobs.get()) is not None:
            fetched, batch = job
            if batch.closed or self._closing.is_set():
                continue
            result: _Result | Exception
            try:
                if process is None or process.is_worn:
                    self._end(number)
                    process = self._start(number)
                result = process.decode(fetched)
            except DecoderDied:
                self._end(number)
                process = None
                result = Dropped(fetched.pair, DropReason.DECODE_LIMIT)
            except Exception as error:  # noqa: BLE001 (carried to the consumer, who raises it)
                self._end(number)
                process = None
                result = error
            batch.finish(fetched, result)
        self._end(number)

    def _start(self, number: int) -> DecodeProcess:
        process = DecodeProcess.start(self._rules, self._deadline)
        with self._lock:
            self._processes[number] = process
            if self._closing.is_set():
                process.kill()
        process.await_ready()
        return process

    def _end(self, number: int) -> None:
        with self._lock:
            process = self._processes.pop(number, None)
        if process is not None:
            process.close()

    def _watch(self) -> None:
        """The watchdog's thread: kill what is late."""
        while not self._closing.wait(_WATCH):
            now = monotonic()
            with self._lock:
                for process in self._processes.values():
                    process.kill_if_late(now)


class _Batch:
    """The items of one `decode`: a `Crew` on the decoder's processes."""

    def __init__(
        self, jobs: "queue.SimpleQueue[tuple[Fetched, _Batch] | None]", processes: int
    ) -> None:
        self.closed = False
        self._jobs = jobs
        self._ahead = _AHEAD_PER_PROCESS * processes
        self._held = 0  # given and not yet taken
        self._bytes = Budget(_AHEAD_BYTES)
        self._done: queue.SimpleQueue[_Result | Exception] = queue.SimpleQueue()

    def has_room(self) -> bool:
        ready = self._done.qsize()
        return (
            self._held - ready < self._ahead
            and self._held < self._ahead + _AHEAD_RESULTS
            and not self._bytes.is_full
        )

    def give(self, item: Fetched) -> None:
        self._held += 1
        self._bytes.add(len(item.body))
        self._jobs.put((item, self))

    def is_ready(self) -> bool:
        return not self._done.empty()

    def take(self) -> _Result:
        result = self._done.get()
        if isinstance(result, Exception):
            raise result
        self._held -= 1
        return result

    def finish(self, item: Fetched, result: _Result | Exception) -> None:
        """A keeper's thread hands in an item's result."""
        self._bytes.add(-len(item.body))
        self._done.put(result)
