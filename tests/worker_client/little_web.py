"""A little web in an archive: one page with pictures, and the server that has them."""

import gzip
import io
import threading
from pathlib import Path

import numpy as np
from PIL import Image

from laion_protocol import ModelSpec, Recipe
from tests.worker_client.archives import record
from tests.worker_client.replay_server import ReplayServer
from worker_client.pipeline.chain import ChainOptions

USER_AGENT = "laion-worker-tests/1 (+https://example.org/contact)"


def write_archive(path: Path, *, pictures: int = 3, host: str = "site.example") -> Path:
    """A gzipped WARC with a page and its pictures, each of more than 5,000 bytes."""
    with path.open("wb") as file:

        def add(url: str, kind: str, body: bytes) -> None:
            head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n"
            file.write(gzip.compress(record(head.encode() + body, url=url)))

        tags = "".join(f"<img src='/{n}.png' alt='picture number {n}'>" for n in range(pictures))
        add(f"http://{host}/", "text/html; charset=utf-8", f"<html>{tags}</html>".encode())
        for number in range(pictures):
            noise = np.random.default_rng(number).integers(0, 255, (64, 80, 3), np.uint8)
            png = io.BytesIO()
            Image.fromarray(noise).save(png, "png")
            add(f"http://{host}/{number}.png", "image/png", png.getvalue())
    return path


def little_recipe(model: ModelSpec, **changes) -> Recipe:
    """Keeps whatever a model of random weights thinks of it; two archives may have one page."""
    defaults = {"min_similarity": -1, "safety": False, "dedupe": False}
    return Recipe(kind="warc", model=model, **{**defaults, **changes})


def options_for(endpoint: tuple[str, int], **changes) -> ChainOptions:
    return ChainOptions(
        user_agent=USER_AGENT,
        decode_processes=1,
        connect_to=endpoint,
        allow_private=frozenset({endpoint}),
        **changes,
    )


class HeldServer(ReplayServer):
    """A replay server that holds each answer back until `go` is set; `asked` tells of the first."""

    def __init__(self, archive: Path) -> None:
        super().__init__(archive)
        self.go = threading.Event()
        self.asked = threading.Event()

    def before_answer(self) -> None:
        self.asked.set()
        self.go.wait(30)

    def __exit__(self, *exc: object) -> None:
        self.go.set()
        super().__exit__(*exc)
