"""`Transfer`: one pair on its way through redirects and a retry; `Handle`: libcurl's side of it."""

import socket
from dataclasses import dataclass
from typing import Any, Final

import pycurl

from laion_protocol import DropReason

from ..samples import Pair
from .addresses import WEB_PORTS, is_literal, refusal
from .answer import Answer
from .budget import Budget
from .download_settings import DownloadSettings
from .target import Target

#: libcurl's codes by what they mean to a pair.
_REASONS: Final = {
    pycurl.E_COULDNT_RESOLVE_HOST: DropReason.DNS,
    pycurl.E_COULDNT_RESOLVE_PROXY: DropReason.DNS,
    pycurl.E_URL_MALFORMAT: DropReason.URL_INVALID,
    pycurl.E_UNSUPPORTED_PROTOCOL: DropReason.URL_INVALID,
    pycurl.E_SSL_CONNECT_ERROR: DropReason.TLS,
    pycurl.E_PEER_FAILED_VERIFICATION: DropReason.TLS,
    pycurl.E_SSL_CERTPROBLEM: DropReason.TLS,
    pycurl.E_SSL_CIPHER: DropReason.TLS,
    pycurl.E_SSL_ISSUER_ERROR: DropReason.TLS,
    pycurl.E_SSL_INVALIDCERTSTATUS: DropReason.TLS,
    pycurl.E_SSL_SHUTDOWN_FAILED: DropReason.TLS,
    pycurl.E_BAD_CONTENT_ENCODING: DropReason.NOT_AN_IMAGE,
    pycurl.E_FILESIZE_EXCEEDED: DropReason.TOO_MANY_BYTES,
}


class _LentSocket(socket.socket):
    """libcurl takes a duplicate of the descriptor; this one closes as soon as nobody holds it."""

    def __del__(self) -> None:
        self.close()


@dataclass(slots=True)
class Transfer:
    """One pair, from its first request to its one result."""

    pair: Pair
    target: Target
    answer: Answer
    deadline: float | None = None  #: monotonic seconds, set when the first request starts
    hops: int = 0
    retried: bool = False
    refused: bool = False  #: this request met an address that the guard refused
    opened: bool = False  #: this request opened a socket to an address that the guard allowed


class Handle:
    """One libcurl easy handle, used for one request after the other."""

    def __init__(
        self,
        settings: DownloadSettings,
        share: pycurl.CurlShare,
        ca_file: str | None,
        budget: Budget,
    ) -> None:
        """`share` and `budget` are common to all handles of a run."""
        self.curl = pycurl.Curl()
        self.transfer: Transfer | None = None
        self.paused = False
        self.favoured = False  # may grow though the budget is overfull, so that one gets done
        self._settings = settings
        self._budget = budget
        for option, value in self._options(settings, ca_file):
            self.curl.setopt(option, value)
        self.curl.setopt(pycurl.SHARE, share)

    def _options(self, settings: DownloadSettings, ca_file: str | None) -> list[tuple[int, Any]]:
        web = pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS
        accept = ",".join(f"image/{name}" for name in settings.formats)
        options: list[tuple[int, Any]] = [
            (pycurl.USERAGENT, settings.user_agent),
            # Identity asked for; what comes compressed all the same is decoded piece by piece,
            # so that the cap holds for the decoded bytes.
            (pycurl.ACCEPT_ENCODING, "identity"),
            (pycurl.HTTPHEADER, [f"Accept: {accept},*/*;q=0.1"]),
            (pycurl.PROTOCOLS, web),
            (pycurl.FOLLOWLOCATION, 0),  # by hand: each hop is judged like a first request
            (pycurl.PROXY, ""),  # whatever the environment says
            (pycurl.NETRC, pycurl.NETRC_IGNORED),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS),
            (pycurl.SSL_VERIFYPEER, 1),
            (pycurl.SSL_VERIFYHOST, 2),
            (pycurl.NOSIGNAL, 1),  # we live in a thread
            (pycurl.CONNECTTIMEOUT_MS, int(settings.connect_timeout * 1000)),
            (pycurl.LOW_SPEED_LIMIT, settings.low_speed),
            (pycurl.LOW_SPEED_TIME, settings.low_speed_time),
            (pycurl.OPENSOCKETFUNCTION, self._open_socket),
            (pycurl.HEADERFUNCTION, self._header),
            (pycurl.WRITEFUNCTION, self._body),
        ]
        if ca_file is not None:
            options.append((pycurl.CAINFO, ca_file))
        else:
            options.append((pycurl.SSL_OPTIONS, pycurl.SSLOPT_NATIVE_CA))
        if settings.connect_to is not None:
            host, port = settings.connect_to
            options.append((pycurl.CONNECT_TO, [f"::{host}:{port}"]))
        if settings.resolve:
            options.append((pycurl.RESOLVE, list(settings.resolve)))
        return options

    def prepare(self, transfer: Transfer, remaining: float) -> None:
        """Point the handle at the transfer's target, with what is left of its time, in seconds."""
        self.transfer = transfer
        self.paused = self.favoured = False
        transfer.refused = transfer.opened = False
        target = transfer.target
        if self._settings.connect_to is not None:
            target = target.over_plain_http()
        self.curl.setopt(pycurl.URL, target.url)
        self.curl.setopt(pycurl.TIMEOUT_MS, max(1, int(remaining * 1000)))

    @property
    def size(self) -> int:
        """Bytes of the body so far."""
        return self.transfer.answer.size if self.transfer is not None else 0

    def resume(self) -> int | None:
        """Go on reading a body that was paused; libcurl's code if that ended the request.

        libcurl hands on the piece that it kept before it returns, and the piece may be refused.
        """
        self.paused = False
        try:
            self.curl.pause(pycurl.PAUSE_CONT)
        except pycurl.error as error:
            return int(error.args[0])
        return None

    def reason(self, code: int) -> DropReason:
        """What the pair is dropped for when its request ended with this libcurl error."""
        transfer = self.transfer
        assert transfer is not None
        if transfer.answer.dropped is not None:
            return transfer.answer.dropped
        if transfer.refused and not transfer.opened:
            return DropReason.ADDRESS_REFUSED
        if code == pycurl.E_OPERATION_TIMEDOUT:
            return self._timeout_reason(transfer)
        # The rest is a connection that was refused, reset, or broke off half-way.
        return _REASONS.get(code, DropReason.CONNECT)

    def _timeout_reason(self, transfer: Transfer) -> DropReason:
        """Which stage the time ran out in: a host that cannot be reached is not a slow one."""
        if transfer.opened:
            connected = self.curl.getinfo(pycurl.CONNECT_TIME) > 0
            return DropReason.TIMEOUT if connected else DropReason.CONNECT
        # Without a socket of its own it used an open connection, or never learnt an address.
        return DropReason.TIMEOUT if self.curl.getinfo(pycurl.PRIMARY_IP) else DropReason.DNS

    def _open_socket(self, _purpose: int, address: Any) -> socket.socket | int:
        """The guard: called by libcurl with the very address that it is about to connect to."""
        transfer = self.transfer
        assert transfer is not None
        host, port = address.addr[0], address.addr[1]
        if (host, port) not in self._settings.allow_private and refusal(host, port) is not None:
            transfer.refused = True
            return int(pycurl.SOCKET_BAD)
        try:
            opened = _LentSocket(address.family, address.socktype, address.protocol)
        except OSError:  # no IPv6 here, or no descriptors left: libcurl tries the next address
            return int(pycurl.SOCKET_BAD)
        transfer.opened = True
        return opened

    def _header(self, line: bytes) -> int | None:
        assert self.transfer is not None
        return None if self.transfer.answer.header(line) else -1

    def _body(self, data: bytes) -> int | None:
        assert self.transfer is not None
        answer = self.transfer.answer
        if self._budget.is_overfull and not self.favoured:
            self.paused = True
            return int(pycurl.WRITEFUNC_PAUSE)
        if not answer.chunk(data):
            return -1
        self._budget.add(len(data))
        return None


def target_refused(target: Target, settings: DownloadSettings) -> bool:
    """Whether the URL itself names an endpoint that the guard refuses.

    The guard proper judges the address at connect. This one is for `connect_to`, where that
    address is not the URL's, and saves the others a look-up.
    """
    endpoint = (target.host.strip("[]"), target.port)
    if endpoint in settings.allow_private:
        return False
    if is_literal(target.host):
        return refusal(*endpoint) is not None
    return settings.connect_to is not None and target.port not in WEB_PORTS
