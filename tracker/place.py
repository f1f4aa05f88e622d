"""Where a tracker lives: its data directory and its address, checked before anything starts."""

import contextlib
import errno
import fcntl
import json
import logging
import os
import resource
import secrets
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .exit_status import USAGE
from .identity import new_token

log = logging.getLogger(__name__)

#: What the first start writes into the data directory, and the CLI reads.
TOKEN_FILE: Final = "admin-token"
ADDRESS_FILE: Final = "tracker.json"
_BACKLOG: Final = 2048
#: Under this, a start would end in the middle of something.
_LEAST_FREE: Final = 16 * 2**20
_FEW_FILES: Final = 8192


class CannotServe(Exception):
    """The tracker cannot start, or go on; the message says why and what to do next.

    `status` is the exit status, one of `exit_status.MEANINGS`.
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
def data_directory(data: Path, *, shared: bool = False) -> Iterator[None]:
    """The directory exists, can be written, and is no other tracker's for as long as this lasts;
    with `shared`, other trackers may have it that share it as well.

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
        fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
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


def raise_file_limit() -> None:
    """Each connection is an open file, and the usual soft limit is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # some systems let nobody have the hard one
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < _FEW_FILES:
        log.warning(
            "this process may open %s files, and each connection is one; raise `ulimit -n`", soft
        )


def check_disk(data: Path) -> None:
    """There is room to start: Redis, token and address are written before anything is checked.

    Raises:
        CannotServe: the disk is full.
    """
    free = shutil.disk_usage(data).free
    if free < _LEAST_FREE:
        raise CannotServe(
            f"the disk of {data} is full ({free // 2**20} MiB are free, {_LEAST_FREE // 2**20} are "
            "needed to start); free some, or choose another --data",
            os.EX_CANTCREAT,
        )


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
            f"{address.host!r} is no address to listen on; choose another --host", USAGE
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
            option = "--host" if error.errno == errno.EADDRNOTAVAIL else "--port"
            raise CannotServe(
                f"{where} cannot be listened on ({error.strerror}); choose another {option}",
                os.EX_UNAVAILABLE,
            ) from error
        yield listener


def admin_token(data: Path) -> tuple[str, bool]:
    """The operator's token, and whether it was made just now; it lies in a file that only this
    user can read.

    Raises:
        OSError: it can neither be read nor written.
    """
    path, new = data / TOKEN_FILE, new_token()
    token = kept_once(path, new)
    if token == new:
        log.info("the admin token is in %s", path)
    return token, token == new


def kept_once(path: Path, new: str) -> str:
    """What the file holds, which is `new` if there was none. Of many trackers that start at once,
    all get the same. Only this user can read it.

    Raises:
        OSError: it can neither be read nor written.
    """
    with contextlib.suppress(FileNotFoundError):
        return path.read_text().strip()
    temporary = _beside(path)
    # Never readable by others, not even for a moment: made with its mode, and not if it exists.
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(new + "\n")
            file.flush()
            os.fsync(handle)
        # A link is never made over what is there, and so cannot take another tracker's away.
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()
    return path.read_text().strip()


def write_address(data: Path, url: str) -> None:
    """Tell the CLI where the tracker is; of several on one directory, where the last one is."""
    temporary = _beside(data / ADDRESS_FILE)
    temporary.write_text(json.dumps({"url": url}) + "\n")
    temporary.rename(data / ADDRESS_FILE)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}")


def url_of(host: str, port: int) -> str:
    """Where a tracker that listens there is reached from this machine."""
    if host in ("", "0.0.0.0", "::"):  # everywhere; from here by loopback
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
