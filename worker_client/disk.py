"""Writing files so that a crash leaves the old one or the new one, and trouble has a name.

OutputError
├── DiskFull       no room left; free some and start again
└── OutputRefused  the place cannot be written to; choose another
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class OutputError(Exception):
    """Base: results cannot be written. The message is a sentence for the volunteer."""


class DiskFull(OutputError):
    """No room left on the disk, or in the user's quota."""


class OutputRefused(OutputError):
    """The directory cannot be made or written to."""


@contextmanager
def writing_to(directory: Path) -> Iterator[None]:
    """Turns what the operating system says about a write into `OutputError`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(
                f"the disk that holds {directory} is full; free some space and start again"
            ) from error
        raise OutputRefused(
            f"{directory} cannot be written to ({error.strerror or error}); "
            "choose another directory or change its permissions"
        ) from error


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all, even after a power cut. Raises OSError."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        put_in_place(draft, path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def put_in_place(draft: Path, path: Path) -> None:
    """Rename a finished, synced file to its name, for good. Raises OSError."""
    draft.replace(path)
    if os.name == "posix":  # elsewhere a directory cannot be opened, nor need it be
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
