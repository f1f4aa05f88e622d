"""The web as an archive recorded it, on 127.0.0.1: by Host and path, with status and redirects."""

import io
import threading
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from warcio.archiveiterator import ArchiveIterator
from warcio.bufferedreaders import ChunkedDataReader

_PASSED_ON = ("content-type", "location", "x-robots-tag", "content-encoding")


@dataclass
class Recorded:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class ReplayServer:
    """Serves every HTTP response of an archive; the first of several for one URL, a 2xx before."""

    def __init__(self, archive: Path) -> None:
        self.answers: dict[tuple[str, str], Recorded] = {}
        with archive.open("rb") as file:
            for record in ArchiveIterator(file, arc2warc=True):
                if record.rec_type == "response" and record.http_headers is not None:
                    self._record(record)

    def _record(self, record) -> None:
        url = record.rec_headers.get_header("WARC-Target-URI").strip("<>")
        http = record.http_headers
        headers = [(n, v) for n, v in http.headers if n.lower() in _PASSED_ON]
        new = Recorded(int(http.get_statuscode()), headers, record.raw_stream.read())
        if (http.get_header("Transfer-Encoding") or "").lower() == "chunked":
            reader = ChunkedDataReader(io.BytesIO(new.body))  # reads what is not chunked as it is
            new.body = b"".join(iter(lambda: reader.read(2**16), b""))
        key = _key(url)
        if key not in self.answers or (new.status == 200 and self.answers[key].status != 200):
            self.answers[key] = new

    def resolve(self, url: str) -> bytes | None:
        """The body that a client gets in the end, over at most 5 recorded redirects."""
        for _ in range(6):
            answer = self.answers.get(_key(url))
            if answer is None:
                return None
            if answer.status == 200:
                return answer.body
            location = dict((n.lower(), v) for n, v in answer.headers).get("location")
            if answer.status not in (301, 302, 303, 307, 308) or not location:
                return None
            url = urljoin(url, location)
        return None

    def before_answer(self) -> None:
        """For servers that are slow on purpose."""

    def __enter__(self) -> "ReplayServer":
        answers, before_answer = self.answers, self.before_answer

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                before_answer()
                answer = answers.get((self.headers["Host"].lower(), self.path))
                if answer is None:
                    answer = Recorded(404, [], b"")
                self.send_response(answer.status)
                for name, value in answer.headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                with suppress(ConnectionError):  # the client hung up
                    self.wfile.write(answer.body)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = ("127.0.0.1", self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _key(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    host = (parts.hostname or "") + (f":{parts.port}" if parts.port not in (None, 80, 443) else "")
    return host, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
