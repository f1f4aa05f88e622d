"""A crawl's list of files, read from a file or the web, for `crawl add`."""

import gzip
import io
import urllib.error
import urllib.request
import zlib
from http.client import HTTPException
from pathlib import Path
from typing import IO, Final

#: A snapshot lists 100,000 files in 15 MB; this is four times as much.
_MAX_LIST: Final = 60 * 2**20
_TIMEOUT: Final = 60.0


class UnreadableList(Exception):
    """The list of files cannot be read; the message says why."""


def is_url(text: str) -> bool:
    """Whether that names something on the web."""
    return text.startswith(("http://", "https://"))


def read_paths(source: str, base: str) -> tuple[str, ...]:
    """The files of a crawl, one a line; the list may be gzipped, and lie on disk or the web.

    Lines are taken relative to `base`. With a directory as `base`, every file must be there.

    Raises:
        UnreadableList: it cannot be read, is too long, is empty, or names a missing file.
    """
    text = _text(source)
    paths = tuple(line for raw in text.splitlines() if (line := raw.strip()))
    if not paths:
        raise UnreadableList(f"{source} names no file; it should have one path a line")
    if not is_url(base):
        _check_files(paths, base)
    return paths


def absolute_base(base: str) -> str:
    """`base`, with a directory made absolute: workers do not share this working directory."""
    return base if is_url(base) else str(Path(base).resolve())


def _text(source: str) -> str:
    try:
        with _open(source) as file:
            raw = file.read(_MAX_LIST + 1)
        if raw[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=io.BytesIO(raw)) as unpacked:
                raw = unpacked.read(_MAX_LIST + 1)
        if len(raw) > _MAX_LIST:
            raise UnreadableList(f"{source} is over {_MAX_LIST} bytes; split the crawl")
        return raw.decode()
    except urllib.error.HTTPError as error:
        with error:
            raise UnreadableList(f"{source} answers HTTP {error.code}") from error
    except UnicodeDecodeError as error:
        raise UnreadableList(f"{source} is no text file with one path a line") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UnreadableList(f"{source} is a broken gzip file") from error
    except (HTTPException, ValueError) as error:  # a blank, a newline, half an IPv6 address
        raise UnreadableList(f"{source!r} is no URL, or its server speaks no HTTP") from error
    except OSError as error:  # a URLError and a timeout are OSErrors
        raise UnreadableList(f"{source} cannot be read ({_why(error)})") from error


def _why(error: OSError) -> str:
    reason = getattr(error, "reason", error)  # what a URLError wraps
    return getattr(reason, "strerror", None) or str(reason) or type(reason).__name__


def _open(source: str) -> IO[bytes]:
    if is_url(source):
        opened: IO[bytes] = urllib.request.urlopen(source, timeout=_TIMEOUT)
        return opened
    if "://" in source:
        raise UnreadableList(f"{source} is neither a file nor an http or https URL")
    return Path(source).open("rb")


def _check_files(paths: tuple[str, ...], base: str) -> None:
    for path in paths:
        if not is_url(path) and not (Path(base) / path).is_file():
            raise UnreadableList(f"{path} is not a file under {base}")
