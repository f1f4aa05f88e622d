"""`HtmlProcess`: has pages parsed in a process of its own, with a deadline and a bound of memory.

An HTML5 parser takes quadratic time and memory on pages made for it: 300 KB of `<a>` and `<div>`
cost seconds, 31 KB of `<font>` 1.3 GB. Such a page must cost the volunteer no more than one page.
"""

import os
import subprocess
import sys
import threading
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Self

import msgspec

from .html import Image
from .html_child import LENGTH, READY

#: Wall clock for one page, seconds. The largest real pages take a quarter of a second; machines
#: must agree on which pages are broken, so slow ones get ample time.
PAGE_SECONDS = 20.0
#: For the process to start, on a cold and slow disk.
_START_SECONDS = 60.0
#: An answer beyond this is no list of a page's images.
_MAX_ANSWER_BYTES = 64 * 2**20
_TICK_SECONDS = 0.25
_KEPT_ENVIRONMENT = ("SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class PageBroken(Exception):
    """This page cannot be parsed within the bounds; go on with the next."""


class ParserUnavailable(Exception):
    """No parser process can be started on this machine; stop and tell the human."""


class HtmlProcess:
    """Starts its process with the first page, and a new one after each that died."""

    def __init__(self, *, page_seconds: float = PAGE_SECONDS) -> None:
        self._page_seconds = page_seconds
        self._popen: subprocess.Popen[bytes] | None = None
        self._late: float | None = None
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._watch: threading.Thread | None = None
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[list[Image] | None] = msgspec.msgpack.Decoder(
            list[Image] | None
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process, at once; safe to repeat."""
        self._closed.set()
        self._discard()
        if self._watch is not None:
            self._watch.join()

    def images(self, text: str, page_url: str) -> list[Image]:
        """What `page_images` finds on a page.

        Raises:
            PageBroken: the parser refused it, or ran out of its time or memory.
            ParserUnavailable: there is no parser to ask.
        """
        popen = self._popen or self._start()
        message = self._encoder.encode((text, page_url))
        self._allow(self._page_seconds)
        try:
            _write(popen, LENGTH.pack(len(message)) + message)
            length = LENGTH.unpack(_read(popen, LENGTH.size))[0]
            if length > _MAX_ANSWER_BYTES:
                raise PageBroken("an impossible answer")
            images = self._decoder.decode(_read(popen, length))
        except (OSError, PageBroken, msgspec.MsgspecError) as error:
            self._discard()
            raise PageBroken(str(error)) from error
        self._allow(None)
        if images is None:
            raise PageBroken("the parser refuses it")
        return images

    def _start(self) -> "subprocess.Popen[bytes]":
        root = Path(__file__).resolve().parents[2]
        environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
        try:
            self._popen = subprocess.Popen(
                [sys.executable, "-s", "-P", "-m", f"{__package__}.html_child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env=environment | {"PYTHONPATH": str(root)},
                cwd=root.anchor,
                start_new_session=True,  # Ctrl-C is the worker's to answer
            )
        except OSError as error:
            raise ParserUnavailable(f"No HTML parser can be started: {error}.") from error
        if self._watch is None:
            self._watch = threading.Thread(target=self._kill_late, daemon=True)
            self._watch.start()
        self._allow(_START_SECONDS)
        popen = self._popen
        try:
            ready = _read(popen, len(READY)) == READY
        except (OSError, PageBroken):
            ready = False
        if not ready:
            self._discard()
            raise ParserUnavailable(
                "The HTML parser ends before it is ready; install laion-worker again, and check "
                "that this machine has 1 GiB of free memory."
            )
        self._allow(None)
        return popen

    def _allow(self, seconds: float | None) -> None:
        """Kill the process that many seconds from now; None calls that off."""
        with self._lock:
            self._late = None if seconds is None else monotonic() + seconds

    def _kill_late(self) -> None:
        while not self._closed.wait(_TICK_SECONDS):
            with self._lock:
                if self._late is not None and monotonic() > self._late and self._popen is not None:
                    self._late = None
                    self._popen.kill()

    def _discard(self) -> None:
        with self._lock:
            popen, self._popen, self._late = self._popen, None, None
        if popen is None:
            return
        popen.kill()
        for pipe in (popen.stdin, popen.stdout):
            if pipe is not None:
                pipe.close()
        popen.wait()


def _read(popen: "subprocess.Popen[bytes]", length: int) -> bytearray:
    data = bytearray(length)
    view = memoryview(data)
    assert popen.stdout is not None
    while view:
        count = popen.stdout.readinto(view)  # type: ignore[attr-defined]
        if not count:
            raise PageBroken("the parser died of it")
        view = view[count:]
    return data


def _write(popen: "subprocess.Popen[bytes]", data: bytes) -> None:
    view = memoryview(data)
    assert popen.stdin is not None
    while view:
        view = view[popen.stdin.write(view) or 0 :]
