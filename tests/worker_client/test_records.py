"""Records and pages: damage is counted and passed over, codings are undone, bombs are not."""

import gzip
import zlib
from collections import Counter
from pathlib import Path

import pytest
from fastwarc.stream_io import BrotliWriter
from fastwarc.warc import ArchiveIterator as FastIterator
from warcio.archiveiterator import ArchiveIterator

from laion_protocol import Damage, SourceKind
from tests.worker_client.archives import http, member, read, real_archives, record, write
from worker_client.pipeline import page as page_module
from worker_client.pipeline.extract import extract
from worker_client.pipeline.page import Page, read_page
from worker_client.pipeline.record import MAX_BLOCK_BYTES, Record
from worker_client.pipeline.source import SourceUnreadable
from worker_client.tally import Tally

HTML = b"<!doctype html><img src=a.jpg alt=picture>"

#: Files whose records warcio and we count differently, and why.
DIFFERENT = {
    # one gzip member holds several records; warcio gives up, we read on
    "gowarc-corrupted-mid-record.warc.gz.open": {"response": 12},
    "gowarc-corrupted-trailing-bytes.warc.gz.open": {"response": 30},
    "stormcrawler-unparsable-date.warc.gz": {"request": 1, "response": 1},
    "warcio-example-bad-non-chunked.warc.gz": {"response": 1, "request": 2, "revisit": 1},
    "warcio-example-bad.warc.gz.bad": {"response": 2, "request": 2, "revisit": 1},
    # warcio fails in its own brotli adapter
    "solrwayback-brotli.warc.gz": {"request": 1, "response": 1, "metadata": 1, "resource": 1},
    # warcio misreads the body as chunked and stops
    "warcio-example-wrong-chunks.warc.gz": {"request": 1, "response": 1},
    # a record whose length is wrong: warcio gives its wrong content, we count it as damaged
    "ipwb-HTTP204.warc": {"response": 1},
    "ipwb-broken.warc": {"request": 2, "metadata": 1, "response": 1},
    "solrwayback-Evil-Warc-Headers.warc": {},
    "solrwayback-none-truncated.warc.gz": {"request": 1},
    "warcio-example-trunc.warc": {"request": 1},
    "warciojs-example-bad-length.warc": {"request": 2, "revisit": 1},
}


@pytest.mark.parametrize("path", real_archives())
def test_every_real_archive_is_read_as_warcio_reads_it(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tally = Tally()
    found = Counter(one.type for one in read(path, tally=tally) if one.type != "warcinfo")
    if path.name in DIFFERENT:
        assert found == DIFFERENT[path.name]
        assert tally.damage or "gz" in path.name
        return
    expected: Counter[str] = Counter()
    try:
        with path.open("rb") as file:
            for one in ArchiveIterator(file, arc2warc=True, no_record_parse=True):
                expected[one.rec_type] += one.rec_type != "warcinfo"
    except Exception:  # noqa: BLE001 (warcio's own, of any kind, on a broken file)
        assert tally.damage
    assert found == +expected


@pytest.mark.parametrize("path", real_archives())
def test_blocks_are_those_that_fastwarc_reads(path: Path) -> None:
    if path.parent.name == "broken" or ".arc" in path.name:
        pytest.skip("fastwarc refuses ARC and stops at damage")
    with path.open("rb") as file:
        expected = [one.reader.read() for one in FastIterator(file, parse_http=False)]
    assert [one.block for one in read(path)] == expected


@pytest.mark.parametrize("kind", list(SourceKind))
@pytest.mark.parametrize("path", real_archives())
def test_nothing_in_a_real_archive_stops_the_extraction(path: Path, kind: SourceKind) -> None:
    tally = Tally()
    try:
        pairs = list(extract(read(path, tally=tally), kind, tally))
    except SourceUnreadable:
        assert path.name == "none such"
    assert tally.pairs == len(pairs)


# ── damage ───────────────────────────────────────────────────────────────────────────────────────

GOOD = [record(b"good", url=f"http://s.example/{n}") for n in range(4)]


@pytest.mark.parametrize(
    ("bad", "damage"),
    [
        pytest.param(record(b"x" * 99, length=50), Damage.RECORD_BROKEN, id="length too short"),
        pytest.param(record(b"x" * 99, length=150), Damage.RECORD_TRUNCATED, id="too long"),
        pytest.param(GOOD[0].replace(b"Content-Length", b"X"), Damage.RECORD_BROKEN, id="none"),
        pytest.param(record(b"", length=-5), Damage.RECORD_BROKEN, id="negative"),
        pytest.param(record(b"", length=10**40), Damage.RECORD_BROKEN, id="beyond belief"),
        pytest.param(GOOD[0].replace(b"WARC-Type", b"X"), Damage.RECORD_BROKEN, id="no type"),
        pytest.param(b"WARC/1.0\r\n" + b"a" * 200_000, Damage.RECORD_BROKEN, id="endless header"),
    ],
)
def test_a_damaged_record_is_counted_and_the_next_one_is_read(
    tmp_path: Path, bad: bytes, damage: Damage
) -> None:
    tally = Tally()
    location = write(tmp_path, [member(GOOD[0]), member(bad), member(GOOD[1])])
    assert [found.url for found in read(location, tally=tally) if found.block == b"good"] == [
        "http://s.example/0",
        "http://s.example/1",
    ]
    assert tally.damage == {damage: 1}


def test_garbage_between_members_is_counted_and_passed_over(tmp_path: Path) -> None:
    tally = Tally()
    pieces = [member(GOOD[0]), b"garbage\x1f\x8b\x08 and more", member(GOOD[1])]
    assert len(read(write(tmp_path, pieces), tally=tally)) == 2
    assert tally.damage == {Damage.RECORD_BROKEN: 1}


def test_after_damage_only_whole_members_count_as_records(tmp_path: Path) -> None:
    tally = Tally()
    lure = member(record(bytes(500)))[:-9] + b"no end"
    pieces = [member(GOOD[0]), b"garbage", lure, member(GOOD[1])]
    assert len(read(write(tmp_path, pieces), tally=tally)) == 2
    assert tally.damage == {Damage.RECORD_BROKEN: 1}


def test_after_damage_text_that_looks_like_a_record_needs_a_blank_line(tmp_path: Path) -> None:
    quoted = b"as it says:\r\n" + GOOD[2]
    pieces = [GOOD[0], record(quoted, length=7), GOOD[1]]
    found = read(write(tmp_path, pieces, "a.warc"))
    assert [one.url for one in found] == ["http://s.example/0", "http://s.example/1"]


@pytest.mark.parametrize("name", ["a.warc.gz", "a.warc"])
def test_a_file_that_ends_inside_a_record_gives_all_before_it(tmp_path: Path, name: str) -> None:
    pieces = [member(one) if name.endswith("gz") else one for one in GOOD]
    whole = b"".join(pieces)
    for cut in range(len(whole) - len(pieces[-1]) + 1, len(whole) - 4, 7):
        tally = Tally()
        assert len(read(write(tmp_path, [whole[:cut]], name), tally=tally)) == 3
        assert sum(tally.damage.values()) == 1


def test_a_wrong_checksum_drops_the_record(tmp_path: Path) -> None:
    bad = bytearray(member(GOOD[1]))
    bad[-6] ^= 1
    tally = Tally()
    found = read(write(tmp_path, [member(GOOD[0]), bytes(bad), member(GOOD[2])]), tally=tally)
    assert [one.url for one in found] == ["http://s.example/0", "http://s.example/2"]
    assert tally.damage == {Damage.RECORD_BROKEN: 1}


@pytest.mark.parametrize("name", ["a.warc.gz", "a.warc"])
def test_a_long_record_is_cut_and_the_next_one_is_read(tmp_path: Path, name: str) -> None:
    long = record(bytes(MAX_BLOCK_BYTES + 10**6))
    pieces = [long, GOOD[0]]
    if name.endswith("gz"):
        pieces = [member(one) for one in pieces]
    found = read(write(tmp_path, pieces, name))
    assert [len(one.block) for one in found] == [MAX_BLOCK_BYTES, 4]


def test_the_first_of_two_equal_header_names_counts(tmp_path: Path) -> None:
    twice = GOOD[0].replace(b"\r\n\r\n", b"\r\nContent-Type: evil\r\nWARC-Type: request\r\n\r\n", 1)
    (found,) = read(write(tmp_path, [twice]))
    assert (found.type, found.content_type) == ("response", "application/http; msgtype=response")


def test_angle_brackets_around_a_url_are_taken_off(tmp_path: Path) -> None:
    assert read(write(tmp_path, [record(b"x", url="<http://s.example/a>")]))[0].url == (
        "http://s.example/a"
    )


# ── pages ────────────────────────────────────────────────────────────────────────────────────────


def as_page(block: bytes, tally: Tally | None = None, **fields: str) -> Page | None:
    values = {"type": "response", "url": "http://s.example/", "content_type": "application/http"}
    return read_page(Record(**{**values, **fields}, block=block, offset=0), tally or Tally())


def brotli(body: bytes, tmp_path: Path) -> bytes:
    path = tmp_path / "body.br"
    with path.open("wb") as file:
        writer = BrotliWriter(file)
        writer.write(body)
        writer.close()
    return path.read_bytes()


@pytest.mark.parametrize(
    ("headers", "is_page"),
    [
        ("Content-Type: text/html", True),
        ("content-type: TEXT/HTML ; charset=utf-8", True),
        ("Content-Type: application/xhtml+xml", True),
        ("", True),
        ("Content-Type: image/jpeg", False),
        ("Content-Type: application/json", False),
    ],
)
def test_only_html_is_a_page(headers: str, is_page: bool) -> None:
    assert (as_page(http(HTML, headers)) is not None) == is_page


def test_without_a_content_type_the_bytes_decide() -> None:
    assert as_page(http(b"  \n<HTML><body>", "")) is not None
    assert as_page(http(b"\xff\xd8\xff\xe0 picture", "")) is None
    assert as_page(http(b"plain text", "")) is None


@pytest.mark.parametrize(
    ("status", "is_page"), [("200 OK", True), ("203", True), ("404 No", False)]
)
def test_only_a_success_is_a_page(status: str, is_page: bool) -> None:
    assert (as_page(http(HTML, status=status)) is not None) == is_page


def test_a_resource_record_of_html_is_a_page() -> None:
    page = as_page(HTML, type="resource", content_type="text/html")
    assert page is not None
    assert page.body == HTML
    assert as_page(HTML, type="resource", content_type="text/plain") is None


def test_answers_of_name_servers_and_other_records_are_no_pages_and_no_damage() -> None:
    tally = Tally()
    assert as_page(b"20200101\ns.example. 1 IN A 1.1.1.1", tally, url="dns:s.example") is None
    assert as_page(http(HTML), tally, type="request") is None
    assert as_page(http(HTML), tally, type="revisit") is None
    assert not tally.damage


def test_a_response_without_an_http_header_is_damage() -> None:
    tally = Tally()
    assert as_page(b"no http at all", tally) is None
    assert tally.damage == {Damage.RECORD_BROKEN: 1}


CHUNKED = b"5;x=y\r\n" + HTML[:5] + b"\r\n" + f"{len(HTML) - 5:X}\r\n".encode() + HTML[5:]
RAW_DEFLATE = zlib.compressobj(6, zlib.DEFLATED, -15)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ("Content-Encoding: gzip", gzip.compress(HTML, mtime=0)),
        ("Content-Encoding: x-gzip", gzip.compress(HTML, mtime=0)),
        ("Content-Encoding: deflate", zlib.compress(HTML)),
        ("Content-Encoding: deflate", RAW_DEFLATE.compress(HTML) + RAW_DEFLATE.flush()),
        ("Content-Encoding: gzip", HTML),  # decoded already, as Common Crawl stores it
        ("Content-Encoding: br", HTML),
        ("Content-Encoding: UTF-8", HTML),
        ("Transfer-Encoding: chunked", CHUNKED + b"\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", CHUNKED),  # without its end
        ("Transfer-Encoding: chunked", CHUNKED + b"\r\n0\r\nTrailer: yes\r\n\r\n"),
        ("Transfer-Encoding: chunked", HTML),  # unchunked already
    ],
)
def test_codings_are_undone(headers: str, body: bytes) -> None:
    page = as_page(http(body, f"Content-Type: text/html\r\n{headers}"))
    assert page is not None
    assert page.body == HTML


def test_brotli_and_stacked_codings_are_undone(tmp_path: Path) -> None:
    for coding, body in (
        ("br", brotli(HTML, tmp_path)),
        ("gzip, br", brotli(gzip.compress(HTML, mtime=0), tmp_path)),
    ):
        page = as_page(http(body, f"Content-Type: text/html\r\nContent-Encoding: {coding}"))
        assert page is not None
        assert page.body == HTML


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
def test_a_bomb_is_damage(coding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "MAX_PAGE_BYTES", 100_000)
    flat = b" " * 100_001
    body = {"gzip": gzip.compress, "deflate": zlib.compress}.get(coding, lambda b: b)(flat)
    if coding == "br":
        body = brotli(flat, tmp_path)
    tally = Tally()
    block = http(body, f"Content-Type: text/html\r\nContent-Encoding: {coding}")
    assert as_page(block, tally) is None
    assert tally.damage == {Damage.ENCODING_BROKEN: 1}


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "unheard-of"])
def test_a_coding_that_does_not_decode_is_damage(coding: str) -> None:
    tally = Tally()
    body = b"\x1f\x8b\x08\x00broken" if coding == "gzip" else b"\x00\xffnothing of the kind"
    block = http(body, f"Content-Type: text/html\r\nContent-Encoding: {coding}")
    assert as_page(block, tally) is None
    assert tally.damage == {Damage.ENCODING_BROKEN: 1}
