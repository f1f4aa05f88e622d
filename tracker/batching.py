"""`BatchingRedis`: a client that sends what many tasks ask at one moment in one go.

A command of its own costs a place in the pool, a write, a wake-up and a read: about 100 µs of this
process. Hundreds of requests run at once here, so commands are collected while others are under
way, and travel as one pipeline. Nothing waits for company: a lone command is sent at once.
"""

import asyncio
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import DataError

#: Pipelines under way at once. Fewer make batches longer, more use the line's latency better.
_FLIGHTS: Final = 4
#: Commands in one pipeline, so that the first answers do not wait for a thousand others.
_MOST: Final = 128


class BatchingRedis(Redis):
    """As `Redis`; single commands of concurrent tasks share pipelines.

    A break of the line ends all commands of a batch as it ends a single one. Not for commands that
    block or that belong to a connection (`BLPOP`, `SUBSCRIBE`, `WATCH`): take a `pipeline()` or
    another client for these.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._asked: list[_Command] = []
        self._flights: set[asyncio.Task[None]] = set()
        self._is_due = False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """The command's answer; raises what `Redis` would."""
        # Asked once: Python 3.11 asks the kernel for the process's id each time.
        loop = self._loop = self._loop or asyncio.get_running_loop()
        command = _Command(args, options, loop.create_future())
        self._asked.append(command)
        if not self._is_due and len(self._flights) < _FLIGHTS:
            self._is_due = True
            loop.call_soon(self._depart)
        return await command.answer

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Wait for what is under way, then close."""
        while self._flights:
            await asyncio.wait(self._flights)
        await super().aclose(close_connection_pool)

    def _depart(self) -> None:
        self._is_due = False
        while self._asked and len(self._flights) < _FLIGHTS:
            batch, self._asked = self._asked[:_MOST], self._asked[_MOST:]
            flight = asyncio.get_running_loop().create_task(self._fly(batch))
            self._flights.add(flight)
            flight.add_done_callback(self._landed)

    def _landed(self, flight: "asyncio.Task[None]") -> None:
        self._flights.discard(flight)
        self._depart()

    async def _fly(self, batch: "list[_Command]") -> None:
        try:
            async with self.pipeline(transaction=False) as pipeline:
                for command in batch:
                    pipeline.execute_command(*command.args, **command.options)
                answers = await pipeline.execute(raise_on_error=False)
        except (DataError, UnicodeError):
            # One of them cannot be written down, so none was sent: only its caller is to hear it.
            answers = await asyncio.gather(
                *(self._alone(command) for command in batch), return_exceptions=True
            )
        except BaseException as error:  # noqa: BLE001 (whatever it is, the callers get it)
            answers = [error] * len(batch)
        for command, answer in zip(batch, answers, strict=True):
            command.settle(answer)

    async def _alone(self, command: "_Command") -> Any:
        return await super().execute_command(*command.args, **command.options)  # type: ignore[no-untyped-call]


class _Command:
    """One command, and its caller's future."""

    __slots__ = ("answer", "args", "options")

    def __init__(
        self, args: tuple[Any, ...], options: dict[str, Any], answer: "asyncio.Future[Any]"
    ) -> None:
        self.args, self.options, self.answer = args, options, answer

    def settle(self, answer: Any) -> None:
        if self.answer.done():  # the caller gave up
            return
        if isinstance(answer, asyncio.CancelledError):
            self.answer.cancel()
        elif isinstance(answer, BaseException):
            self.answer.set_exception(answer)
        else:
            self.answer.set_result(answer)
