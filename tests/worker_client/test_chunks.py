"""Chunks: the parts of a file together hold every record once, whatever the records hold."""

import os
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worker_client.archives import member, read, read_parts, real_archives, record, write
from worker_client.pipeline import gzip_archive, plain_archive
from worker_client.pipeline.gzip_archive import GzipArchive
from worker_client.pipeline.plain_archive import PlainArchive
from worker_client.pipeline.source import SourceError, SourceUnreadable
from worker_client.pipeline.window import Window
from worker_client.tally import Tally

PARTS = (1, 2, 3, 7, 16)


@pytest.mark.parametrize("path", real_archives())
def test_the_parts_of_a_real_archive_hold_each_record_once(path: Path) -> None:
    try:
        whole = read(path)
    except SourceUnreadable:
        for part in range(3):
            with pytest.raises(SourceUnreadable):
                read(path, part, 3)
        return
    for parts in PARTS:
        assert read_parts(path, parts) == whole


def _inner(seed: int) -> bytes:
    """What a hostile page would hold: whole records, as text and gzipped."""
    noise = random.Random(seed).randbytes(seed % 50)
    lure = record(noise, url="http://lure.example/")
    return member(lure) * (seed % 3 + 1) + b"\r\n\r\n" + lure + b"\r\n\r\nWARC/1.0\r\n" + noise


BLOCKS = st.one_of(
    st.binary(max_size=300),
    st.integers(0, 200).map(_inner),
    # ends exactly where the record around it ends: the two chains of records meet
    st.binary(max_size=50).map(lambda body: b"x\r\n\r\n" + record(body, end=b"")),
    st.sampled_from([
        b"", b"\x1f\x8b\x08" * 40, b"\r\n\r\nWARC/1.0\r\n", member(record(b"lure"), 0) * 5,
        b"\r\n\r\n" + record(b"far", length=10**6), b"\r\n\r\n" + record(b"near", length=1) * 9,
        bytes(20_000),
    ]),
)  # fmt: skip


@given(st.lists(st.tuples(BLOCKS, st.sampled_from([0, 6])), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_the_parts_of_a_gzipped_archive_hold_each_record_once(
    content: list[tuple[bytes, int]],
) -> None:
    pieces = [
        member(record(block, url=f"http://s.example/{number}"), level)
        for number, (block, level) in enumerate(content)
    ]
    with tempfile.TemporaryDirectory() as directory:
        location = write(Path(directory), pieces)
        assert [found.block for found in read(location)] == [block for block, _ in content]
        for parts in PARTS:
            urls = [found.url for found in read_parts(location, parts)]
            assert urls == [f"http://s.example/{number}" for number in range(len(content))]


@given(st.lists(BLOCKS, min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_the_parts_of_a_plain_archive_hold_each_record_once(blocks: list[bytes]) -> None:
    pieces = [record(block, url=f"http://s.example/{n}") for n, block in enumerate(blocks)]
    with tempfile.TemporaryDirectory() as directory:
        location = write(Path(directory), pieces, "a.warc")
        assert [found.block for found in read(location)] == blocks
        for parts in PARTS:
            urls = [found.url for found in read_parts(location, parts)]
            assert urls == [f"http://s.example/{number}" for number in range(len(blocks))]


@pytest.mark.parametrize("reach", [100, 3000])
def test_a_short_look_at_the_surroundings_is_enough_when_records_are_shorter(
    tmp_path: Path, reach: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same with files longer than the walk and the chain: no part reads from the start."""
    lure = member(record(b"lure" * 5, url="http://lure.example/"), 0)
    blocks = [bytes([n]) * 20 + (lure if n % 3 == 0 and reach > 1000 else b"") for n in range(200)]
    records = [record(block, url=f"http://s.example/{n}") for n, block in enumerate(blocks)]
    packed = write(tmp_path, [member(one, 0) for one in records])
    plain = write(tmp_path, records, "a.warc")
    monkeypatch.setattr(GzipArchive.first_at, "__kwdefaults__", {"within": 2**62, "chain_bytes": reach})  # fmt: skip # noqa: E501
    monkeypatch.setattr(PlainArchive.first_at, "__kwdefaults__", {"within": 2**62, "look_back": reach})  # fmt: skip # noqa: E501
    for location in (packed, plain):
        whole = read(location)
        assert len(whole) == 200
        for parts in (7, 16, 61):
            assert read_parts(location, parts) == whole


def test_an_archive_stored_inside_a_record_is_not_mistaken_for_the_archive(tmp_path: Path) -> None:
    stored = b"".join(member(record(b"x" * 50, url=f"http://lure.example/{n}")) for n in range(40))
    pieces = [
        member(record(b"before", url="http://s.example/0")),
        member(record(stored, url="http://s.example/1"), level=0),
        member(record(b"after", url="http://s.example/2")),
    ]
    location = write(tmp_path, pieces)
    size = os.path.getsize(location)
    inside = len(pieces[0]) + len(pieces[1]) // 2  # where a part may start
    with open(location, "rb") as file:
        window = Window(_Open(file, size))
        archive = GzipArchive(window, Tally())
        assert archive.first_at(inside) == len(pieces[0]) + len(pieces[1])


class _Open:
    def __init__(self, file: object, size: int) -> None:
        self.seek = file.seek  # type: ignore[attr-defined]
        self.read = file.read  # type: ignore[attr-defined]
        self.close = file.close  # type: ignore[attr-defined]
        self.size = size


def test_a_file_in_a_single_gzip_member_is_read_by_the_first_part(tmp_path: Path) -> None:
    records = [record(bytes([n]) * 100, url=f"http://s.example/{n}") for n in range(50)]
    location = write(tmp_path, [member(b"".join(records))])
    assert len(read(location, 0, 3)) == 50
    assert read(location, 1, 3) == read(location, 2, 3) == []


def test_records_that_span_gzip_members_are_put_together(tmp_path: Path) -> None:
    text = b"".join(record(os.urandom(3000), url=f"http://s.example/{n}") for n in range(20))
    location = write(tmp_path, [member(text[at : at + 1000]) for at in range(0, len(text), 1000)])
    whole = read(location)
    assert [found.url for found in whole] == [f"http://s.example/{n}" for n in range(20)]
    for parts in PARTS:
        assert read_parts(location, parts) == whole


@pytest.mark.parametrize("name", ["a.warc.gz", "a.warc"])
def test_damage_costs_its_record_and_not_the_parts_agreement(tmp_path: Path, name: str) -> None:
    chooser = random.Random(7)
    records = [record(chooser.randbytes(300), url=f"http://s.example/{n}") for n in range(40)]
    pieces = [bytearray(member(one) if name.endswith("gz") else one) for one in records]
    for broken in (5, 6, 17):
        pieces[broken][150] ^= 0xFF  # of a plain record this changes only the content
    if name == "a.warc":
        pieces[17] = bytearray(bytes(pieces[17]).replace(b"Length: 300", b"Length: 299"))
        pieces[30] = bytearray(bytes(pieces[30]).replace(b"Length: 300", b"Length: 2000"))
    location = write(tmp_path, [bytes(piece) for piece in pieces], name)
    whole = [found.url for found in read(location)]
    lost = {5, 6, 17} if name.endswith("gz") else {17, 30}
    assert whole == [f"http://s.example/{n}" for n in range(40) if n not in lost]
    for parts in PARTS:
        assert [found.url for found in read_parts(location, parts)] == whole


def test_more_parts_than_bytes_leave_most_of_them_empty(tmp_path: Path) -> None:
    location = write(tmp_path, [member(record(b"one"))])
    size = os.path.getsize(location)
    assert len(read_parts(location, size + 10)) == 1


def test_a_file_of_lures_is_given_up_in_bounded_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each lure opens as a record would, inflates far, and ends in garbage."""
    monkeypatch.setattr(gzip_archive, "PROOF_BYTES", 2**22)
    monkeypatch.setattr(plain_archive, "MAX_FAR_PROOFS", 4)
    lure = member(record(bytes(500_000)))[:-8] + b"garbage!"
    location = write(tmp_path, [member(record(b"true")), *[lure] * 40])
    tally = Tally()
    assert [found.block for found in read(location, tally=tally)] == [b"true"]
    assert tally.damage
    try:
        assert read(location, 2, 3) == []
    except SourceError as error:  # pragma: no cover - a failure with the reason in view
        pytest.fail(str(error))
