"""A web server for one archive, with the manners of good and bad servers."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Manners:
    """How the server behaves; a test may change it while the server runs."""

    body: bytes
    ranges: bool = True
    length: bool = True  #: tells how long the body is
    etag: str = '"one"'
    break_after: int | None = None  #: bytes of each answer, then the connection breaks
    refusals: list[tuple[int, str | None]] = field(default_factory=list)  #: status, Retry-After
    stall: bool = False  #: sends half an answer and waits
    redirect: str | None = None
    requests: list[dict[str, str]] = field(default_factory=list)
    open: int = 0
    most_open: int = 0
    done: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serve(manners: Manners) -> Iterator[str]:
    """Run it on a free port of this machine; gives the archive's URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # A client that hung up before it asked anew has one connection; let that show.
            with suppress(AssertionError):
                wait_until(lambda: manners.open == 0, seconds=1.0)
            manners.open += 1
            manners.most_open = max(manners.open, manners.most_open)
            manners.requests.append({name.lower(): value for name, value in self.headers.items()})
            try:
                self._answer()
            except OSError:
                self.close_connection = True
            finally:
                manners.open -= 1

        def _answer(self) -> None:
            if manners.refusals:
                status, retry_after = manners.refusals.pop(0)
                self.send_response(status)
                if retry_after is not None:
                    self.send_header("Retry-After", retry_after)
                self.end_headers()
                return
            if manners.redirect is not None:
                self.send_response(302)
                self.send_header("Location", manners.redirect)
                self.end_headers()
                return
            body, wanted = manners.body, re.match(r"bytes=(\d+)-(\d+)", self.headers["Range"] or "")
            if manners.ranges and wanted:
                first, last = int(wanted[1]), min(int(wanted[2]), len(body) - 1)
                if first >= len(body):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(body)}")
                    self.end_headers()
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(body)}")
                body = body[first : last + 1]
            else:
                self.send_response(200)
            if manners.length:
                self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", manners.etag)
            self.end_headers()
            if manners.stall:
                self.wfile.write(body[: len(body) // 2])
                manners.done.wait(30)
            elif manners.break_after is not None:
                self.wfile.write(body[: manners.break_after])
            else:
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/a.warc.gz"
    finally:
        manners.done.set()
        server.shutdown()
        thread.join()
        server.server_close()


def wait_until(condition: object, seconds: float = 10.0) -> None:
    """Poll until it holds."""
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)
