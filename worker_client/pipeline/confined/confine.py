"""`confine`: give up, for good, whatever decoding a picture does not need."""

import ctypes
import os
import struct
import sys
from typing import Final

from .wire import Guards, Rules

if sys.platform != "win32":
    import resource

#: Standard input, output and error: with this limit no fourth descriptor can be opened.
_OPEN_DESCRIPTORS: Final = 3
_NICENESS: Final = 5  # the volunteer's own programs come first

# Linux: prctl(2), landlock(7); system call numbers are the same on every architecture.
_PR_SET_NO_NEW_PRIVS: Final = 38
_LANDLOCK_CREATE_RULESET: Final = 444
_LANDLOCK_RESTRICT_SELF: Final = 446
_LANDLOCK_CREATE_RULESET_VERSION: Final = 1
#: Rights over the file system that exist from each ABI on, as bit counts.
_FS_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 5: 16}
_NET_RIGHTS: Final = 0b11  # bind and connect TCP, from ABI 4
_SCOPES: Final = 0b11  # abstract Unix sockets and signals to others, from ABI 6


def confine(rules: Rules) -> Guards:
    """Confine this process as far as the system lets an ordinary user; say how far that was.

    Comes after all imports: no file can be opened afterwards.
    """
    guards = Guards.NONE
    if sys.platform == "win32":
        return guards
    os.nice(_NICENESS)
    if sys.platform == "linux":
        guards |= _confine_linux()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    try:
        resource.setrlimit(resource.RLIMIT_AS, (rules.memory, rules.memory))
        guards |= Guards.LIMITS
    except (ValueError, OSError):  # macOS knows the limit but refuses to set it
        pass
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_DESCRIPTORS, _OPEN_DESCRIPTORS))
    return guards | Guards.NO_DESCRIPTORS


def allow_seconds(seconds: float) -> None:
    """Let the process use that much more processor time; beyond it the system kills it."""
    if sys.platform == "win32":
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def _confine_linux() -> Guards:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return Guards.NONE
    abi = libc.syscall(
        ctypes.c_long(_LANDLOCK_CREATE_RULESET), None, ctypes.c_size_t(0),
        ctypes.c_uint(_LANDLOCK_CREATE_RULESET_VERSION),
    )  # fmt: skip
    if abi < 1:
        return Guards.NO_NEW_PRIVILEGES
    bits = max(count for since, count in _FS_RIGHTS.items() if since <= abi)
    fields = [(1 << bits) - 1]
    if abi >= 4:
        fields.append(_NET_RIGHTS)
    if abi >= 6:
        fields.append(_SCOPES)
    # All rights are handled and no rule grants any: nothing is left.
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    ruleset = libc.syscall(
        ctypes.c_long(_LANDLOCK_CREATE_RULESET), attributes,
        ctypes.c_size_t(len(attributes)), ctypes.c_uint(0),
    )  # fmt: skip
    if ruleset < 0:
        return Guards.NO_NEW_PRIVILEGES
    restricted = libc.syscall(
        ctypes.c_long(_LANDLOCK_RESTRICT_SELF), ctypes.c_int(ruleset), ctypes.c_uint(0)
    )
    os.close(ruleset)
    if restricted != 0:
        return Guards.NO_NEW_PRIVILEGES
    return Guards.NO_NEW_PRIVILEGES | Guards.LANDLOCK
