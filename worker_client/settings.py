"""Where a worker keeps its things, and what it is told: command line, environment, config file.

The command line goes before the environment, the environment before the file.
"""

import os
import re
import socket
import stat
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from laion_protocol import Stage

from . import __version__
from .errors import BadConfig, TokenTrouble
from .pipeline.chain import ChainOptions

TOKEN_VARIABLE: Final = "LAION_WORKER_TOKEN"
#: Whom a site's owner may ask about the requests; part of the User-Agent.
DEFAULT_CONTACT: Final = "https://laion.ai/"

_TOKEN = re.compile(r"lw_[A-Za-z0-9_-]{1,64}_[A-Za-z0-9_-]{16,256}")
_CONFIG_KEYS = frozenset(
    {"tracker", "token", "token_file", "worker", "state_dir", "contact", "local_sources", "stages"}
)
#: A config file or token file is a few lines.
_MOST_BYTES = 64 * 2**10


@dataclass(slots=True, frozen=True)
class WorkerSettings:
    """All that `laion-worker run` was told."""

    tracker: str
    token: str
    worker: str
    state: Path
    options: ChainOptions
    most_jobs: int | None = None  #: stop after this many; None goes on until stopped
    local_sources: Path | None = None  #: where a tracker may have files read; nowhere if None
    stages: tuple[Stage, ...] | None = (Stage.HYBRID,)  #: None: what this machine is good for
    pause: float = 30.0  #: seconds after a failure of this machine; doubles up to an hour


def user_agent(contact: str) -> str:
    """What this worker calls itself towards trackers and web sites."""
    return f"laion-worker/{__version__} (+{contact})"


def config_path(environment: Mapping[str, str] = os.environ) -> Path:
    """The configuration file; it need not exist."""
    if sys.platform == "win32":
        base = environment.get("APPDATA") or str(Path.home() / "AppData" / "Roaming")
    else:
        base = environment.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "laion-worker" / "config.toml"


def state_path(environment: Mapping[str, str] = os.environ) -> Path:
    """Where jobs and models lie while they are needed."""
    if sys.platform == "win32":
        base = environment.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    else:
        base = environment.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "laion-worker"


def read_config(path: Path) -> dict[str, str]:
    """The file's settings; none if there is no file.

    Raises:
        BadConfig: it cannot be read, is no TOML, or has a key that means nothing.
    """
    try:
        raw = _read(path)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise BadConfig(f"{path} cannot be read: {error.strerror}; fix it or delete it") from error
    try:
        config = tomllib.loads(raw.decode())
    except ValueError as error:
        raise BadConfig(f"{path} is not TOML ({error}); fix it or delete it") from error
    for key, value in config.items():
        if key not in _CONFIG_KEYS or not isinstance(value, str):
            known = ", ".join(sorted(_CONFIG_KEYS))
            raise BadConfig(f"{path}: {key!r} is none of {known}, each a string; fix that line")
    return config


def read_token(
    token_file: Path | None,
    config: Mapping[str, str],
    environment: Mapping[str, str] = os.environ,
) -> str:
    """The volunteer's token. Never from the command line, which every user of the machine can see.

    Raises:
        TokenTrouble: there is none, or what is there cannot be one.
    """
    if token_file is None and (found := environment.get(TOKEN_VARIABLE)):
        return _checked(found, TOKEN_VARIABLE)
    if token_file is None and "token_file" in config:
        token_file = Path(config["token_file"]).expanduser()
    if token_file is not None:
        try:
            return _checked(_read(token_file).decode("utf-8", "replace"), str(token_file))
        except OSError as error:
            raise TokenTrouble(
                f"the token file {token_file} cannot be read: {error.strerror}; check --token-file"
            ) from error
    if "token" in config:
        return _checked(config["token"], "the configuration file")
    raise TokenTrouble(
        f"there is no token; put it into a file for --token-file, into {TOKEN_VARIABLE}, "
        f"or as `token` into {config_path(environment)}"
    )


def open_to_others(path: Path) -> bool:
    """Whether other users of this machine can read a file that holds a token."""
    if os.name != "posix":
        return False  # access lists, which the mode does not tell
    try:
        return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
    except OSError:
        return False


def default_worker_name() -> str:
    """This machine's name, in the characters that a worker's name may have."""
    host = re.sub(r"[^A-Za-z0-9._-]+", "-", socket.gethostname().split(".")[0])
    return host.lstrip("._-")[:64] or "worker"


def _checked(raw: str, where: str) -> str:
    token = raw.strip()
    if not _TOKEN.fullmatch(token):
        raise TokenTrouble(
            f"what stands in {where} is not a token; it looks like lw_name_secret, on one line"
        )
    return token


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MOST_BYTES)
