"""Which records go the fast way, and which are left to the reader that names what is wrong."""

import io

import pytest

from tests.worker_client.archives import DATA, member, needs_data, record
from worker_client.pipeline.gzip_fast import SoundRecords
from worker_client.pipeline.source_errors import SourceUnavailable
from worker_client.pipeline.window import Window


class Bytes(io.BytesIO):
    @property
    def size(self):
        return len(self.getvalue())


class Breaks(Bytes):
    """A line that breaks after so many bytes."""

    def read(self, limit):
        if self.tell() >= 100_000:
            raise SourceUnavailable("the line broke")
        return super().read(min(limit, 10_000))


def sound(data, stop=2**62):
    records = SoundRecords(Window(Bytes(data)), 0, stop)
    return [one.url for one in records], records.end


def numbered(count):
    return [member(record(b"x" * 50 * n, url=f"http://a/{n}")) for n in range(count)]


def test_one_record_a_member_is_the_fast_way_up_to_the_files_last():
    members = numbered(20)

    urls, end = sound(b"".join(members))

    assert urls == [f"http://a/{n}" for n in range(19)]
    assert end == sum(map(len, members[:19]))


def test_it_stops_at_the_first_record_past_the_part():
    members = numbered(20)

    urls, end = sound(b"".join(members), stop=len(members[0]) + 1)

    assert urls == ["http://a/0", "http://a/1"]
    assert end == len(members[0]) + len(members[1])


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(member(record(b"x") + record(b"y")), id="two records in one member"),
        pytest.param(member(record(b"x", length=400)), id="a length that swallows the next record"),
        pytest.param(member(record(b"x" * 90, length=20)), id="a length that is too short"),
        pytest.param(member(b""), id="an empty member"),
        pytest.param(member(record(b"x" * 90))[:-9], id="a member that was cut short"),
        pytest.param(member(b"WARC/1.0\r\nnonsense\r\n\r\n"), id="a header that is none"),
        pytest.param(b"between two members", id="bytes that are no member"),
    ],
)
def test_what_is_odd_ends_the_fast_way_just_before_it(odd):
    before = numbered(3)

    urls, end = sound(b"".join(before) + odd + b"".join(numbered(3)))

    # The member before bytes that open no record cannot be proven either.
    assert urls[:2] == ["http://a/0", "http://a/1"]
    assert len(urls) <= 3
    assert end == sum(map(len, before[: len(urls)]))


def test_a_line_that_breaks_is_told_as_what_it_is():
    data = b"".join(member(record(bytes(n), url=f"http://a/{n}")) * 100 for n in range(50))
    records = SoundRecords(Window(Breaks(data)), 0, 2**62)

    with pytest.raises(SourceUnavailable):
        list(records)


@needs_data
def test_every_record_of_a_real_crawl_goes_the_fast_way():
    data = (DATA / "warc/replay/frg.warc.gz").read_bytes()

    assert len(sound(data)[0]) == 55  # of 56
