"""Reading and extraction: archive bytes a second beside the readers, pages beside the bare parser.

    python -m benchmarks.reading [ARCHIVE.warc.gz]

Without an archive, it writes one of the miniature web's pages.
"""

import argparse
import tempfile
import threading
import time
from pathlib import Path

from fastwarc.warc import ArchiveIterator as FastIterator
from selectolax.lexbor import LexborHTMLParser
from warcio.archiveiterator import ArchiveIterator as WarcioIterator

from demo.archives import warc_paths, wat_paths, write_archives
from demo.site import plan_site
from laion_protocol import SourceKind
from worker_client.pipeline.charset import decode
from worker_client.pipeline.extract import extract
from worker_client.pipeline.page import read_page
from worker_client.pipeline.record import Record
from worker_client.pipeline.source import Chunk, open_chunk
from worker_client.tally import Tally

from .timing import Figure, compare, table

_REPEATS = 20  # of the miniature web's pages, so that one round lasts long enough to be measured


def read_ours(path: Path) -> list[Record]:
    """Every record, as the pipeline reads them."""
    chunk = Chunk(str(path), 0, 1)
    with open_chunk(chunk, Tally(), user_agent="benchmark", stop=threading.Event()) as records:
        return list(records)


def read_fastwarc(path: Path) -> int:
    """Every block, by bare fastwarc."""
    with path.open("rb") as file:
        return sum(len(found.reader.read()) for found in FastIterator(file, parse_http=False))


def read_warcio(path: Path) -> int:
    """Every block, by bare warcio."""
    with path.open("rb") as file:
        return sum(len(found.raw_stream.read()) for found in WarcioIterator(file))


def reading(path: Path) -> dict[str, Figure]:
    """Compressed kilobytes per CPU-second."""
    size = path.stat().st_size // 1000

    def counted(read: object) -> object:
        return lambda: (read(path), size)[1]  # type: ignore[operator]

    readers = {"warcio": read_warcio, "fastwarc": read_fastwarc, "laion-worker": read_ours}
    return compare({name: counted(read) for name, read in readers.items()})  # type: ignore[misc]


def parse_bare(pages: list[str]) -> int:
    """The floor: parse, and look at nothing."""
    for page in pages:
        LexborHTMLParser(page)
    return len(pages)


def extract_pages(records: list[Record], kind: SourceKind) -> int:
    """How many pairs these records give."""
    return sum(1 for _ in extract(records, kind, Tally()))


def report(warc: Path, wat: Path | None) -> str:
    """All tables."""
    lines = [table(f"reading {warc.name}", "kB gz", reading(warc))]
    records = read_ours(warc)
    pages = [
        decode(page.body, page.content_type)
        for record in records
        if (page := read_page(record, Tally())) is not None
    ]

    def extract_all() -> int:
        extract_pages(records, SourceKind.WARC)
        return len(pages)

    # Wall time: the worker parses in a process of its own.
    figures = compare(
        {"bare lexbor": lambda: parse_bare(pages), "laion-worker": extract_all},
        clock=time.perf_counter,
    )
    lines.append(table("HTML to pairs, decoding included", "pages", figures))
    if wat is not None:
        links = read_ours(wat)
        figures = compare(
            {
                "from HTML": lambda: extract_pages(records, SourceKind.WARC),
                "from WAT": lambda: extract_pages(links, SourceKind.WAT),
            },
            clock=time.perf_counter,
        )
        lines.append(table("the same pages to pairs", "pairs", figures))
    return "\n\n".join(lines)


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", nargs="?", type=Path)
    archive = parser.parse_args().archive
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        wat = None
        if archive is None:
            site = plan_site(pages=100, pictures_per_page=10, slow=0, web_port=80, trap_port=81)
            write_archives(site.pages * _REPEATS, directory, files=1)
            archive, wat = directory / warc_paths(1)[0], directory / wat_paths(1)[0]
        print(report(archive, wat))  # noqa: T201


if __name__ == "__main__":
    main()
