"""Where a tracker lives: its data directory and its address, checked before anything starts."""

import contextlib
import fcntl
import json
import logging
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .accounts import new_token

log = logging.getLogger(__name__)

#: What the first start writes into the data directory, and the CLI reads.
TOKEN_FILE: Final = "admin-token"
ADDRESS_FILE: Final = "tracker.json"
_BACKLOG: Final = 2048


class CannotServe(Exception):
    """The tracker cannot start, or go on; the message says why and what to do next.

    `status` is the exit status, one of `os.EX_*`.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where to listen; port 0 takes a free one."""

    host: str
    port: int


@contextlib.contextmanager
def data_directory(data: Path) -> Iterator[None]:
    """The directory exists, can be written, and is no other tracker's for as long as this lasts.

    Raises:
        CannotServe: it is not so.
    """
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock = os.open(data / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except PermissionError as error:
        raise CannotServe(
            f"{data} cannot be written; give this user the right to, or choose another --data",
            os.EX_NOPERM,
        ) from error
    except OSError as error:
        raise CannotServe(
            f"{data} cannot be used as data directory ({error.strerror}); choose another --data",
            os.EX_CANTCREAT,
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise CannotServe(
            f"another tracker runs on {data}; stop it, or choose another --data",
            os.EX_CANTCREAT,
        ) from error
    try:
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def listening(address: Address) -> Iterator[socket.socket]:
    """A socket that listens there.

    Raises:
        CannotServe: it cannot.
    """
    where = f"{address.host}:{address.port}"
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CannotServe(
            f"{address.host!r} is no address to listen on; choose another --host", os.EX_USAGE
        ) from error
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(target)
            listener.listen(_BACKLOG)
        except PermissionError as error:
            raise CannotServe(
                f"this user may not listen on {where}; choose a --port above 1023", os.EX_NOPERM
            ) from error
        except OSError as error:
            raise CannotServe(
                f"{where} cannot be listened on ({error.strerror}); choose another --port",
                os.EX_UNAVAILABLE,
            ) from error
        yield listener


def admin_token(data: Path) -> str:
    """The operator's token, made at the first start, in a file that only this user can read.

    Raises:
        OSError: it can neither be read nor written.
    """
    path = data / TOKEN_FILE
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        pass
    token = new_token()
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    # Never readable by others, not even for a moment: made with its mode, and not if it exists.
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(token + "\n")
        file.flush()
        os.fsync(handle)
    temporary.rename(path)
    log.info("the admin token is in %s", path)
    return token


def write_address(data: Path, url: str) -> None:
    """Tell the CLI where the tracker is."""
    temporary = data / f"{ADDRESS_FILE}.new"
    temporary.write_text(json.dumps({"url": url}) + "\n")
    temporary.rename(data / ADDRESS_FILE)


def url_of(host: str, port: int) -> str:
    """Where a tracker that listens there is reached from this machine."""
    if host in ("", "0.0.0.0", "::"):  # everywhere; from here by loopback
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
