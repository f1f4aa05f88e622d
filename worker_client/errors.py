"""What may end the program, and what each trouble means: for the shell and for the tracker.

WorkerError                 each carries the exit code it leads to
├── BadUsage                USAGE          fix the command line
├── BadConfig               CONFIG         fix the configuration file
├── TokenTrouble            NO_PERMISSION  get a token, or say where it is
└── AlreadyRunning          BUSY           one worker on one state directory
"""

from dataclasses import dataclass
from typing import ClassVar

from laion_protocol import FailureClass, Forbidden, NotFound, TrackerError, Unauthorized
from laion_protocol.transport import NotATracker

from .disk import DiskFull, OutputRefused
from .exit_codes import ExitCode
from .foreign_store import StoreRefused
from .inputs import InputBroken
from .new_pairs import NothingNew
from .pipeline.chain import Interrupted, RecipeUnsupported
from .pipeline.decode_process import DecoderUnavailable
from .pipeline.html_process import ParserUnavailable
from .pipeline.intermediate import IntermediateBroken
from .pipeline.model_files import ModelUnavailable, ModelUnusable, OutOfMemory
from .pipeline.shard_files import ShardTooLarge
from .pipeline.source_errors import (
    SourceMissing,
    SourceRefused,
    SourceUnavailable,
    SourceUnreadable,
)


class WorkerError(Exception):
    """Base of what ends the program; the message is a sentence for the volunteer."""

    exit_code: ClassVar[ExitCode]


class BadUsage(WorkerError):
    """An option's value makes no sense."""

    exit_code = ExitCode.USAGE


class BadConfig(WorkerError):
    """The configuration file cannot be used."""

    exit_code = ExitCode.CONFIG


class TokenTrouble(WorkerError):
    """There is no token, or it cannot be read."""

    exit_code = ExitCode.NO_PERMISSION


class AlreadyRunning(WorkerError):
    """Another worker holds the state directory."""

    exit_code = ExitCode.BUSY


@dataclass(slots=True, frozen=True)
class Trouble:
    """What one exception means."""

    exit_code: ExitCode
    failure_class: FailureClass  #: whose fault a failed job is
    message: str  #: one sentence


_MEANINGS: tuple[tuple[type[BaseException], ExitCode, FailureClass], ...] = (
    (Interrupted, ExitCode.INTERRUPTED, FailureClass.WORKER),
    (RecipeUnsupported, ExitCode.USAGE, FailureClass.WORKER),
    (SourceMissing, ExitCode.NO_INPUT, FailureClass.JOB),
    (SourceRefused, ExitCode.NO_INPUT, FailureClass.JOB),
    (SourceUnreadable, ExitCode.BAD_DATA, FailureClass.JOB),
    (SourceUnavailable, ExitCode.UNAVAILABLE, FailureClass.NETWORK),
    (ShardTooLarge, ExitCode.BAD_DATA, FailureClass.JOB),
    (IntermediateBroken, ExitCode.BAD_DATA, FailureClass.JOB),
    (ModelUnavailable, ExitCode.UNAVAILABLE, FailureClass.NETWORK),
    (ModelUnusable, ExitCode.BAD_DATA, FailureClass.SERVER),  # the recipe's files come from there
    (ParserUnavailable, ExitCode.NO_RESOURCES, FailureClass.WORKER),
    (DecoderUnavailable, ExitCode.NO_RESOURCES, FailureClass.WORKER),
    (OutOfMemory, ExitCode.NO_RESOURCES, FailureClass.WORKER),
    (MemoryError, ExitCode.NO_RESOURCES, FailureClass.WORKER),
    (DiskFull, ExitCode.DISK_FULL, FailureClass.WORKER),
    (OutputRefused, ExitCode.CANNOT_CREATE, FailureClass.WORKER),
    (Unauthorized, ExitCode.NO_PERMISSION, FailureClass.WORKER),
    (Forbidden, ExitCode.NO_PERMISSION, FailureClass.WORKER),
    (NotFound, ExitCode.UNAVAILABLE, FailureClass.SERVER),
    (TrackerError, ExitCode.UNAVAILABLE, FailureClass.SERVER),
    (NotATracker, ExitCode.UNAVAILABLE, FailureClass.SERVER),
    (StoreRefused, ExitCode.UNAVAILABLE, FailureClass.SERVER),
    (InputBroken, ExitCode.UNAVAILABLE, FailureClass.SERVER),
    (NothingNew, ExitCode.UNAVAILABLE, FailureClass.SERVER),
)


def trouble_of(error: BaseException) -> Trouble:
    """What an exception means; one that nobody foresaw is a fault of this program."""
    for kind, exit_code, failure_class in _MEANINGS:
        if isinstance(error, kind):
            message = str(error) or "not enough memory; close other programs and start again"
            return Trouble(exit_code, failure_class, _one_line(message))
    if isinstance(error, WorkerError):
        return Trouble(error.exit_code, FailureClass.WORKER, _one_line(str(error)))
    return Trouble(
        ExitCode.INTERNAL,
        FailureClass.WORKER,
        _one_line(
            f"laion-worker met a fault of its own ({type(error).__name__}: {error}); "
            "please report it, with the output of the same command with --verbose"
        ),
    )


def _one_line(message: str) -> str:
    return " ".join(message.split())[:480]
