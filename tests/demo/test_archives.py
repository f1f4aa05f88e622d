"""The archives are what Common Crawl's readers expect, and hold every page once."""

import json
import threading
from collections import Counter
from pathlib import Path

import pytest
from fastwarc.warc import ArchiveIterator as FastIterator
from warcio.archiveiterator import ArchiveIterator

from demo.archives import warc_paths, wat_paths, write_archives
from demo.site import Site, plan_site
from demo.wat import html_metadata
from laion_protocol import SourceKind
from worker_client.pipeline.extract import extract
from worker_client.pipeline.source import Chunk, open_chunk
from worker_client.tally import Tally

FILES = 3


@pytest.fixture(scope="module")
def site() -> Site:
    return plan_site(pages=60, pictures_per_page=8, slow=1, web_port=8080, trap_port=9090)


@pytest.fixture(scope="module")
def archives(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("archives")
    write_archives(site.pages, directory, files=FILES)
    return directory


def test_both_readers_find_every_page_in_exactly_one_response(site: Site, archives: Path) -> None:
    by_warcio, by_fastwarc = Counter[tuple[str, bytes]](), Counter[tuple[str, bytes]]()
    for path in warc_paths(FILES):
        with (archives / path).open("rb") as file:
            for record in ArchiveIterator(file):
                if record.rec_type == "response":
                    url = record.rec_headers.get_header("WARC-Target-URI")
                    by_warcio[url, record.content_stream().read()] += 1
        with (archives / path).open("rb") as file:
            for record in FastIterator(file):
                if record.headers["WARC-Type"] == "response":
                    by_fastwarc[record.headers["WARC-Target-URI"], record.reader.read()] += 1
    assert by_warcio == by_fastwarc == Counter((page.url, page.body) for page in site.pages)
    assert set(by_warcio.values()) == {1}


def test_a_file_opens_with_warcinfo_and_gives_each_page_three_records(archives: Path) -> None:
    for path in (*warc_paths(FILES), *wat_paths(FILES)):
        with (archives / path).open("rb") as file:
            kinds = [record.rec_type for record in ArchiveIterator(file)]
        one_page = ["metadata"] * 3 if "wat" in path else ["request", "response", "metadata"]
        assert kinds == ["warcinfo", *one_page * 20]


def test_every_record_is_a_gzip_member_that_opens_with_warc(site: Site, archives: Path) -> None:
    for path in warc_paths(FILES):
        with (archives / path).open("rb") as file:
            reader = ArchiveIterator(file)
            for _ in reader:
                offset = reader.get_record_offset()
                with (archives / path).open("rb") as again:
                    again.seek(offset)
                    assert next(iter(ArchiveIterator(again))).rec_headers.protocol == "WARC/1.0"


def test_wat_records_are_json_that_names_the_response_they_tell_of(
    site: Site, archives: Path
) -> None:
    told: dict[str, str] = {}
    for path in wat_paths(FILES):
        with (archives / path).open("rb") as file:
            for record in FastIterator(file):
                if record.headers["WARC-Type"] != "metadata":
                    continue
                about = json.loads(record.reader.read())
                payload = about["Envelope"]["Payload-Metadata"]
                if "HTTP-Response-Metadata" not in payload:
                    continue
                place = about["Container"]
                with (archives / place["Filename"]).open("rb") as warc:
                    warc.seek(int(place["Offset"]))
                    response = next(iter(ArchiveIterator(warc)))
                    assert response.rec_type == "response"
                    assert (
                        response.rec_headers.get_header("WARC-Record-ID")
                        == record.headers["WARC-Refers-To"]
                    )
                url = about["Envelope"]["WARC-Header-Metadata"]["WARC-Target-URI"]
                told[url] = payload["HTTP-Response-Metadata"]["HTML-Metadata"]["Head"]["Title"]
    assert set(told) == {page.url for page in site.pages}
    assert all(f"<title>{told[page.url]}</title>" in page.html for page in site.pages)


def test_wat_tells_the_pictures_that_have_a_src_and_a_text(site: Site) -> None:
    for page in site.pages:
        links = html_metadata(page.html).get("Links", [])
        texts = [link.get("alt", "") for link in links if "IMG" in link["path"]]
        seen = [text for text in map(_printable, texts) if text]
        expected = [_printable(pair.text) for pair in page.pairs_in_wat]
        # a placeholder's `data:` URL stands in WAT with its text, and is no picture's
        hidden = Counter(seen) - Counter(expected)
        assert not Counter(expected) - Counter(seen)
        assert sum(hidden.values()) == page.html.count('class="lazy"')


#: neither printable nor white space to Python, and no controls
KEPT = "\u202e\u2066\u2069"


def _printable(text: str) -> str:
    """WAT keeps control characters; the extraction takes them out."""
    return " ".join("".join(c for c in text if c.isprintable() or c.isspace() or c in KEPT).split())


def test_wat_holds_base_titles_and_cut_link_texts() -> None:
    html = (
        '<head><base href="http://b/"><meta name="a" content="b"><title>T</title></head>'
        f'<a href="x.html">{"word " * 100}</a>'
        f'<img src="data:image/gif;base64,AAAA" alt="{"a" * 300}">'
    )
    about = html_metadata(html)
    assert about["Head"] == {
        "Base": "http://b/",
        "Metas": [{"name": "a", "content": "b"}],
        "Title": "T",
    }
    link, image = about["Links"]
    assert len(link["text"]) == 128
    assert image == {"path": "IMG@/src", "url": "data:image/gif;base64,", "alt": "a" * 300}


def test_the_same_pages_give_the_same_bytes(site: Site, archives: Path, tmp_path: Path) -> None:
    write_archives(site.pages, tmp_path, files=FILES)
    for path in (*warc_paths(FILES), *wat_paths(FILES)):
        assert (tmp_path / path).read_bytes() == (archives / path).read_bytes()


@pytest.mark.parametrize("kind", [SourceKind.WARC, SourceKind.WAT])
def test_a_workers_extraction_finds_exactly_the_truth(kind: SourceKind, tmp_path: Path) -> None:
    site = plan_site(pages=300, pictures_per_page=10, slow=4, web_port=8080, trap_port=9090)
    write_archives(site.pages, tmp_path, files=FILES)
    found = Counter[tuple[str, str]]()
    for path in warc_paths(FILES) if kind is SourceKind.WARC else wat_paths(FILES):
        for part in range(2):
            chunk, tally = Chunk(str(tmp_path / path), part, 2), Tally()
            with open_chunk(chunk, tally, user_agent="test", stop=threading.Event()) as records:
                found.update((pair.url, pair.text) for pair in extract(records, kind, tally))
            assert not tally.damage
    pairs = [
        p for g in site.pages for p in (g.pairs if kind is SourceKind.WARC else g.pairs_in_wat)
    ]
    assert found == Counter((pair.url, pair.text) for pair in pairs)
