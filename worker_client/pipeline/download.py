"""`Downloader`: the download stage. Pairs go in, bodies or named reasons come out."""

import ssl
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

import certifi
import pycurl

from ..samples import Dropped, Fetched, Pair
from .ahead import Crew, run_ahead
from .breaker import Breaker
from .download_settings import DownloadSettings
from .transfer_loop import TransferLoop

__all__ = ["DownloadSettings", "Downloader"]


class Downloader:
    """Fetches pictures for many shards, one `fetch` at a time; remembers failing hosts in between.

    A context manager. DNS look-ups and TLS sessions are kept from one `fetch` to the next.
    """

    def __init__(self, settings: DownloadSettings) -> None:
        """Prepare; nothing is requested yet.

        Raises:
            FileNotFoundError: the settings name a certificate bundle that is not there.
        """
        if settings.ca_file is not None and not settings.ca_file.is_file():
            raise FileNotFoundError(f"no certificate bundle at {settings.ca_file}; check ca_file")
        self._settings = settings
        self._ca_file = str(settings.ca_file) if settings.ca_file else _default_ca_file()
        self._breaker = Breaker(settings.host_failures, settings.host_pause)
        self._share = pycurl.CurlShare()
        self._share.setopt(pycurl.SH_SHARE, pycurl.LOCK_DATA_DNS)
        self._share.setopt(pycurl.SH_SHARE, pycurl.LOCK_DATA_SSL_SESSION)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._share.close()

    def fetch(
        self, items: Iterable[Pair | Dropped], stop: threading.Event
    ) -> Iterator[Fetched | Dropped]:
        """One result for each item, in the order in which they come in.

        Pulls from `items` in the caller's thread and only while there is room. Once `stop` is set
        it ends within a second, without the results of what was under way. Closing the iterator
        ends the downloads too.
        """
        loop: Crew[Pair, Fetched | Dropped]
        with TransferLoop(
            self._settings,
            share=self._share,
            ca_file=self._ca_file,
            breaker=self._breaker,
            stop=stop,
        ) as loop:
            results: Iterator[Fetched | Dropped] = run_ahead(items, loop)
            yield from results


def _default_ca_file() -> str:
    """The machine's own bundle (or `SSL_CERT_FILE`), else certifi's: macOS often has none."""
    return ssl.get_default_verify_paths().cafile or certifi.where()
