"""The decoder process: confines itself, then answers picture after picture until stdin ends."""

import hashlib
import os
import sys
from dataclasses import replace

from .confine import allow_seconds, confine
from .picture import Picture, be_strict, open_picture, specimens
from .wire import GUARDS, LENGTH, Answer, Rules, Verdict


def main() -> None:
    """Serve until the worker closes our standard input."""
    rules = Rules.from_json(sys.argv[1])
    be_strict(rules.max_pixels)
    bodies = specimens(rules.formats)
    guards = confine(rules)
    # A Pillow that wants to open a file now would call every picture broken: better not to start.
    easy = replace(rules, min_side=1, max_pixels=max(rules.max_pixels, 16 * 16))
    if not all(isinstance(open_picture(body, easy), Picture) for body in bodies.values()):
        sys.exit(1)
    _write(GUARDS.pack(guards))
    while head := _read(LENGTH.size):
        (length,) = LENGTH.unpack(head)
        allow_seconds(rules.seconds)
        try:
            answer, pixels = _answer(_read(length), rules)
        except MemoryError:
            answer, pixels = Answer(Verdict.DECODE_LIMIT), b""
        _write(answer.pack() + pixels)


def _answer(body: bytearray, rules: Rules) -> tuple[Answer, bytes]:
    picture = open_picture(body, rules)
    if not isinstance(picture, Picture):
        return Answer(picture), b""
    answer = Answer(
        Verdict.KEPT,
        rules.formats.index(picture.format),
        picture.width,
        picture.height,
        hashlib.md5(body, usedforsecurity=False).digest(),
        hashlib.sha256(body).digest(),
    )
    return answer, picture.pixels


def _read(length: int) -> bytearray:
    """Exactly `length` bytes of standard input; nothing when it has ended."""
    data = bytearray(length)
    view = memoryview(data)
    while view:
        piece = os.read(0, min(len(view), 2**20))
        if not piece:
            return bytearray()
        view[: len(piece)] = piece
        view = view[len(piece) :]
    return data


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


main()
