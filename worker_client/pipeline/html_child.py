"""The parser's own process: `python -m worker_client.pipeline.html_child`.

Says `READY`, then reads pages from standard input and writes their images to standard output,
until the input ends. Each message is a u32 length and that much MessagePack; no pickle.
It holds no secret, is held to a bound of memory, and once started can open no file or socket.
"""

import struct
import sys

import msgspec

from .confined.confine import confine
from .confined.wire import Rules
from .html import page_images
from .urls import join

LENGTH = struct.Struct("<I")
#: Said once, when everything is loaded and confined.
READY = b"!"
#: Address space, bytes. The tree of the largest real pages (8 MiB) takes some hundred MiB.
MEMORY_BYTES = 2**30


def main() -> None:
    """Serve until the worker closes our standard input."""
    # Loaded now, because later no file can be opened: IDNA's tables and the parser's.
    join("http://bücher.example/")
    list(page_images("<img src=a alt=b>", "http://example.org/"))
    encoder = msgspec.msgpack.Encoder()
    decoder = msgspec.msgpack.Decoder(tuple[str, str])
    confine(Rules(1, (), 1, 1, memory=MEMORY_BYTES, seconds=0))
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    sink.write(READY)
    sink.flush()
    while head := source.read(LENGTH.size):
        text, page_url = decoder.decode(source.read(LENGTH.unpack(head)[0]))
        try:
            answer = encoder.encode(list(page_images(text, page_url)))
        except Exception:  # noqa: BLE001 (a stranger's page may break the parser in any way)
            answer = encoder.encode(None)
        sink.write(LENGTH.pack(len(answer)) + answer)
        sink.flush()


if __name__ == "__main__":
    main()
