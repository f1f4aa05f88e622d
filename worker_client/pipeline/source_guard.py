"""`SourceGuard`: what a stranger may have this machine read as an archive.

A volunteer who names a file or URL may name any. A tracker is a stranger: left alone, it could
have a worker read the router in the volunteer's living room, or the files on the disk.
"""

import http.client
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .addresses import is_literal, refusal
from .download_settings import Endpoint
from .source_errors import SourceRefused, SourceUnavailable


@dataclass(slots=True, frozen=True)
class SourceGuard:
    """Lets through the public web, and what the volunteer named."""

    allow_private: frozenset[Endpoint] = frozenset()  #: opened although they are private
    local_sources: Path | None = None  #: files are read in here, and nowhere else

    def check_file(self, path: Path) -> Path:
        """The file itself, links resolved.

        Raises:
            SourceRefused: the volunteer did not name a directory that holds it.
        """
        if self.local_sources is None:
            raise SourceRefused(
                f"{path} is a file of this machine, which a tracker may not name; use "
                "--local-sources DIR if its archives lie in a directory here."
            )
        try:
            file, directory = path.resolve(), self.local_sources.resolve()
        except (OSError, ValueError, RuntimeError) as error:  # a NUL; links in a circle
            raise SourceRefused(f"{path} is no path that can be followed.") from error
        if not file.is_relative_to(directory):
            raise SourceRefused(f"{path} lies outside the directory named by --local-sources.")
        return file

    def connect(
        self,
        endpoint: tuple[str, int],
        timeout: float | None = None,
        source_address: tuple[str, int] | None = None,
    ) -> socket.socket:
        """A connection to the first allowed address of a host: the very address that was judged.

        Raises:
            SourceRefused: the address is written in the URL, and not allowed.
            SourceUnavailable: the name leads here to no address that is allowed. Elsewhere it may
                lead to another: some networks send every name to a page of their own.
            OSError: as `socket.create_connection`.
        """
        host, port = endpoint
        refused = ""
        trouble: OSError | None = None
        for *_, found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            address = str(found[0])
            why = None if (address, port) in self.allow_private else refusal(address, port)
            if why is not None:
                shown = f"[{address}]" if ":" in address else address
                refused = refused or (
                    f"{host} leads to {shown}:{port}, which a tracker may not have opened ({why}); "
                    f"use --allow-private {shown}:{port} if you want it read."
                )
                continue
            try:
                return socket.create_connection((address, port), timeout, source_address)
            except OSError as error:
                trouble = error
        if trouble is not None:
            raise trouble
        raise (SourceRefused if is_literal(host) else SourceUnavailable)(refused)


class GuardedHTTP(http.client.HTTPConnection):
    """Opens what its guard allows; for `AbstractHTTPHandler.do_open`."""

    def __init__(self, host: str, *, guard: SourceGuard, **options: Any) -> None:
        super().__init__(host, **options)
        self._create_connection = guard.connect


class GuardedHTTPS(http.client.HTTPSConnection):
    """The same with TLS, for the name in the URL."""

    def __init__(self, host: str, *, guard: SourceGuard, **options: Any) -> None:
        super().__init__(host, **options)
        self._create_connection = guard.connect
