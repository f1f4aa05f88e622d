"""Opening archives: which files are read, and which are refused by name."""

import threading
from pathlib import Path

import pytest

from tests.worker_client.archives import DATA, USER_AGENT, member, needs_data, read, record, write
from worker_client.pipeline.source import (
    Chunk,
    SourceMissing,
    SourceStopped,
    SourceUnreadable,
    open_chunk,
)
from worker_client.tally import Tally

ONE = record(b"block")


def test_a_path_and_a_file_url_open_the_same_file(tmp_path: Path) -> None:
    location = write(tmp_path, [member(ONE)], "with blank.warc.gz")
    assert read(location) == read(Path(location).as_uri())


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(member(ONE), id="gzip"),
        pytest.param(ONE, id="plain"),
        pytest.param(ONE.replace(b"\r\n", b"\n"), id="plain, LF only"),
        pytest.param(b"\r\n\r\n" + ONE, id="plain, newlines first"),
        pytest.param(member(b"") + member(ONE), id="empty member first"),
        pytest.param(member(ONE) + bytes(1000), id="padded with zeros"),
        pytest.param(ONE + bytes(1000), id="plain, padded with zeros"),
    ],
)
def test_the_kind_is_told_from_the_content_not_from_the_name(
    tmp_path: Path, content: bytes
) -> None:
    tally = Tally()
    assert len(read(write(tmp_path, [content], "odd.name"), tally=tally)) == 1
    assert not tally.damage


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"Some text.\n" * 100, id="text"),
        pytest.param(b"<html>404 Not Found</html>", id="error page"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20, id="picture"),
        pytest.param(member(b"text\n" * 100), id="gzipped text"),
        pytest.param(b"\x1f\x8b\x08 no gzip at all", id="false magic"),
        pytest.param(b"WARC mentioned, WARC/1.0\r\nbut no record", id="mention"),
    ],
)
def test_a_file_that_is_no_archive_is_unreadable_in_every_part(
    tmp_path: Path, content: bytes
) -> None:
    location = write(tmp_path, [content])
    for part in range(3):
        with pytest.raises(SourceUnreadable, match=r"a\.warc\.gz"):
            read(location, part, 3)


def test_an_archive_without_records_is_empty_and_not_an_error(tmp_path: Path) -> None:
    tally = Tally()
    assert read(write(tmp_path, [member(b"")]), tally=tally) == []
    assert not tally.damage


def test_a_missing_file_a_directory_and_an_impossible_path_are_missing(tmp_path: Path) -> None:
    for location in (tmp_path / "none.warc.gz", tmp_path, f"{tmp_path}/\0", "http://[half"):
        with pytest.raises(SourceMissing):
            read(location)


def test_a_broken_first_record_does_not_hide_the_others(tmp_path: Path) -> None:
    broken = bytearray(member(record(bytes(range(256)))))
    broken[40] ^= 0xFF
    for content in (bytes(broken) + member(ONE), b"garbage\r\n\r\n" + ONE):
        tally = Tally()
        assert len(read(write(tmp_path, [content]), tally=tally)) == 1
        assert sum(tally.damage.values()) == 1


def test_the_reader_tells_what_it_read(tmp_path: Path) -> None:
    pieces = [member(record(bytes([n]) * 99)) for n in range(9)]
    location = write(tmp_path, pieces)
    ends: list[tuple[int, int]] = []
    tally = Tally()
    for part in range(3):
        chunk = Chunk(location, part, 3)
        with open_chunk(chunk, tally, user_agent=USER_AGENT, stop=threading.Event()) as reader:
            list(reader)
            ends.append((reader.first_byte, reader.end_byte))
    assert [first for first, _ in ends] == [0, ends[0][1], ends[1][1]]
    assert ends[-1][1] == sum(map(len, pieces))
    assert tally.records == 9


def test_stop_ends_the_reading(tmp_path: Path) -> None:
    location = write(tmp_path, [member(record(bytes(2**20)), 0) for _ in range(40)])
    stop = threading.Event()
    with open_chunk(Chunk(location, 0, 1), Tally(), user_agent="x", stop=stop) as reader:
        next(reader)
        stop.set()
        with pytest.raises(SourceStopped):
            list(reader)


@needs_data
def test_pictures_and_texts_are_refused() -> None:
    for path in (*DATA.glob("images/*/*"), *DATA.glob("html/*.html"), *DATA.glob("truth/*.tsv")):
        with pytest.raises(SourceUnreadable):
            read(path)
