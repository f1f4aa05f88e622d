"""`opener`: how an archive's URL is opened, for whoever named it."""

import http.client
import ssl
import urllib.parse
import urllib.request
from functools import cache, partial
from typing import IO

from .source_errors import SourceMissing
from .source_guard import GuardedHTTP, GuardedHTTPS, SourceGuard


class _PoliteRedirects(urllib.request.HTTPRedirectHandler):
    """Follows http(s) only, and never from https down to http."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme not in ("http", "https") or (req.type == "https" and scheme == "http"):
            raise SourceMissing(f"{req.full_url} redirects to {newurl}, which is not followed.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _GuardedWeb(urllib.request.AbstractHTTPHandler):
    """Handler of http and https whose every connection, after a redirect too, is judged."""

    def __init__(self, guard: SourceGuard, context: ssl.SSLContext) -> None:
        super().__init__()
        self._http = partial(GuardedHTTP, guard=guard)
        self._https = partial(GuardedHTTPS, guard=guard, context=context)

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        return self.do_request_(request)

    https_request = http_request

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._http, request)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._https, request)


@cache
def opener(guard: SourceGuard | None = None) -> urllib.request.OpenerDirector:
    """Opens http(s) URLs; through the environment's proxies, unless a guard must see the address.

    One for all requests: making a TLS context loads every root certificate. Built by hand, so that
    no handler for file: or ftp: is in it.
    """
    context = ssl.create_default_context()
    web: tuple[urllib.request.BaseHandler, ...]
    if guard is None:
        web = (
            urllib.request.ProxyHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(context=context),
        )
    else:
        web = (_GuardedWeb(guard, context),)
    director = urllib.request.OpenerDirector()
    for handler in (
        *web,
        urllib.request.HTTPDefaultErrorHandler(),
        _PoliteRedirects(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        director.add_handler(handler)
    return director
