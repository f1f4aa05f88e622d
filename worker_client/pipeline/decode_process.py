"""`DecodeProcess`: the worker's end of one confined decoder process."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from time import monotonic
from typing import Final, Self

import numpy as np

from laion_protocol import DropReason

from ..samples import Decoded, Dropped, Fetched
from .confined.wire import ANSWER_BYTES, GUARDS, LENGTH, Answer, Guards, Rules, Verdict

#: All that a decoder inherits of our environment: where the loader looks for libraries. No token,
#: no proxy, no cloud credential.
_KEPT_ENVIRONMENT: Final = ("SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
#: Seconds a decoder may take to start: importing Pillow on a cold, slow disk.
_START_SECONDS: Final = 60.0
#: Pictures after which a decoder is replaced: what leaked, or what lives on in it, ends there.
_LIFETIME: Final = 2000


class DecoderDied(Exception):
    """The process is gone: killed at its deadline, out of memory, or crashed. Start another."""


class DecoderUnavailable(Exception):
    """No decoder process can be started on this machine; stop and tell the human."""


class DecodeProcess:
    """A child process that opens one picture at a time; started by `start`, ended by `close`."""

    def __init__(self, popen: "subprocess.Popen[bytes]", rules: Rules, deadline: float) -> None:
        """Use `start`. `deadline` is in seconds for one picture, wall clock."""
        self.guards = Guards.NONE
        self.pictures = 0
        self._popen = popen
        self._rules = rules
        self._seconds = deadline
        self._lock = threading.Lock()
        self._late: float | None = monotonic() + _START_SECONDS
        self._killed = False

    @classmethod
    def start(cls, rules: Rules, deadline: float) -> Self:
        """Start a process; it is not ready yet, `await_ready` says when.

        Raises:
            DecoderUnavailable: the system refuses to start it.
        """
        root = Path(__file__).resolve().parents[2]
        environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
        environment |= {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-s", "-P", "-m", f"{__package__}.confined", rules.to_json()]
        try:
            popen = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # libraries' words about a stranger's picture
                bufsize=0,
                env=environment,
                cwd=root.anchor,
                # out of the terminal's reach: Ctrl-C is the worker's to answer
                start_new_session=True,
            )
        except OSError as error:
            raise DecoderUnavailable(f"no decoder process can be started: {error}") from error
        return cls(popen, rules, deadline)

    @property
    def pid(self) -> int:
        """Of the operating system."""
        return self._popen.pid

    @property
    def is_worn(self) -> bool:
        """Whether it has to be replaced before the next picture."""
        return self._killed or self.pictures >= _LIFETIME or self._popen.poll() is not None

    def await_ready(self) -> None:
        """Wait until it is confined.

        Raises:
            DecoderUnavailable: it ended, or took too long.
        """
        try:
            self.guards = Guards(GUARDS.unpack(self._read(GUARDS.size))[0])
        except DecoderDied as error:
            raise DecoderUnavailable(
                "the decoder process ends before it is ready; check that Pillow is installed whole"
            ) from error
        self._on_time()

    def decode(self, fetched: Fetched) -> Decoded | Dropped:
        """Have one picture opened.

        Raises:
            DecoderDied: it did not survive it.
        """
        self.pictures += 1
        with self._lock:
            self._late = monotonic() + self._seconds
        self._write(LENGTH.pack(len(fetched.body)))
        self._write(fetched.body)
        result = self._result(fetched)
        self._on_time()
        return result

    def kill_if_late(self, now: float) -> None:
        """Kill it when its picture's time (monotonic seconds) is up; any thread may call this."""
        with self._lock:
            if self._late is not None and now > self._late:
                self._late = None
                self._killed = True
                self._popen.kill()

    def close(self) -> None:
        """End the process, at once."""
        with self._lock:
            self._killed = True
            self._popen.kill()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                pipe.close()
        self._popen.wait()

    def kill(self) -> None:
        """End it from another thread; the one that uses it gets DecoderDied and closes it."""
        with self._lock:
            self._killed = True
            self._popen.kill()

    def _result(self, fetched: Fetched) -> Decoded | Dropped:
        """Read and check an answer: a process that a picture took over may say anything."""
        rules = self._rules
        try:
            answer = Answer.unpack(self._read(ANSWER_BYTES))
        except ValueError as error:
            raise DecoderDied("unknown verdict") from error
        if answer.verdict is not Verdict.KEPT:
            return Dropped(fetched.pair, DropReason[answer.verdict.name])
        sides = (answer.width, answer.height)
        if answer.format >= len(rules.formats) or min(sides) < rules.min_side:
            raise DecoderDied("impossible answer")
        if answer.width * answer.height > rules.max_pixels:
            raise DecoderDied("impossible answer")
        pixels = np.frombuffer(self._read(rules.size * rules.size * 3), np.uint8)
        return Decoded(
            pair=fetched.pair,
            pixels=pixels.reshape(rules.size, rules.size, 3),
            width=answer.width,
            height=answer.height,
            mime=f"image/{rules.formats[answer.format]}",
            bytes=len(fetched.body),
            md5=answer.md5.hex(),
            sha256=answer.sha256.hex(),
        )

    def _on_time(self) -> None:
        with self._lock:
            self._late = None

    def _read(self, length: int) -> bytearray:
        data = bytearray(length)
        view = memoryview(data)
        assert self._popen.stdout is not None
        while view:
            try:
                count = self._popen.stdout.readinto(view)  # type: ignore[attr-defined]
            except (OSError, ValueError) as error:
                raise DecoderDied(str(error)) from error
            if not count:
                raise DecoderDied("its output ended")
            view = view[count:]
        return data

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        assert self._popen.stdin is not None
        while view:
            try:
                count = self._popen.stdin.write(view)
            except (OSError, ValueError) as error:
                raise DecoderDied(str(error)) from error
            view = view[count or 0 :]
