"""What the program's exit status tells; the numbers are those of BSD's `sysexits.h`."""

from enum import IntEnum


class ExitCode(IntEnum):
    """One number for each thing that a script or service manager may want to tell apart."""

    OK = 0
    USAGE = 64  #: an unknown option, or a value out of bounds
    BAD_DATA = 65  #: the file is no archive, or the model's files are not what they should be
    NO_INPUT = 66  #: no such file
    UNAVAILABLE = 69  #: tracker, source or model cannot be reached now
    INTERNAL = 70  #: a fault of this program
    NO_RESOURCES = 71  #: not enough memory, or no process can be started
    CANNOT_CREATE = 73  #: the output directory cannot be made or written to
    DISK_FULL = 74
    BUSY = 75  #: another worker runs on this state directory; try again when it has ended
    NO_PERMISSION = 77  #: the token is missing, wrong or revoked
    CONFIG = 78  #: the configuration file cannot be read or holds nonsense
    INTERRUPTED = 130  #: stopped by a signal before the work was done
