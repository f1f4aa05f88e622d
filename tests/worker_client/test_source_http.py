"""Reading a chunk over HTTP, from servers of all manners."""

import random
import threading
import time
from datetime import timedelta
from email.utils import formatdate

import pytest

from tests.worker_client.archive_server import Manners, serve, wait_until
from tests.worker_client.archives import USER_AGENT, member, record
from worker_client.pipeline import ranges
from worker_client.pipeline.record import Record
from worker_client.pipeline.source import (
    Chunk,
    SourceMissing,
    SourceStopped,
    SourceUnavailable,
    SourceUnreadable,
    open_chunk,
)
from worker_client.tally import Tally

_NOISE = random.Random(3)
RECORDS = [record(_NOISE.randbytes(20_000), url=f"http://s.example/{n}") for n in range(60)]
ARCHIVE = b"".join(map(member, RECORDS))


def fetch(
    url: str,
    part: int = 0,
    parts: int = 1,
    *,
    patience: float = 5.0,
    stop: threading.Event | None = None,
) -> list[Record]:
    with open_chunk(
        Chunk(url, part, parts),
        Tally(),
        user_agent=USER_AGENT,
        stop=stop or threading.Event(),
        patience=timedelta(seconds=patience),
        first_pause=0.01,
    ) as reader:
        return list(reader)


def urls(records: list[Record]) -> list[str]:
    return [found.url for found in records]


ALL = [f"http://s.example/{n}" for n in range(60)]


@pytest.mark.parametrize("parts", [1, 3, 7])
def test_parts_read_over_http_hold_each_record_once(parts: int) -> None:
    manners = Manners(ARCHIVE)
    with serve(manners) as url:
        found = [one for part in range(parts) for one in fetch(url, part, parts)]
    assert urls(found) == ALL
    assert manners.most_open == 1
    assert {request["user-agent"] for request in manners.requests} == {USER_AGENT}
    assert {request["accept-encoding"] for request in manners.requests} == {"identity"}


def test_a_part_asks_only_for_the_head_and_its_own_bytes() -> None:
    body = b"".join(member(record(_NOISE.randbytes(2**20)), 0) for _ in range(30))
    manners = Manners(body)
    with serve(manners) as url:
        assert len(fetch(url, 1, 3)) == 10
    spans = [one["range"].removeprefix("bytes=").split("-") for one in manners.requests]
    assert spans[0] == ["0", "65535"]
    assert int(spans[1][0]) == len(body) // 3
    assert int(spans[-1][1]) < len(body) * 2 // 3 + 2**20
    assert len(spans) == 2


def test_a_broken_transfer_goes_on_where_it_broke() -> None:
    manners = Manners(ARCHIVE, break_after=200_000)
    with serve(manners) as url:
        assert urls(fetch(url)) == ALL
    starts = [int(one["range"].removeprefix("bytes=").split("-")[0]) for one in manners.requests]
    assert starts == sorted(starts)
    assert len(starts) == len(set(starts))
    assert manners.requests[-1]["if-range"] == '"one"'


@pytest.mark.parametrize("length", [True, False])
def test_a_server_without_ranges_is_read_from_the_start(length: bool) -> None:
    with serve(Manners(ARCHIVE, ranges=False, length=length)) as url:
        assert urls(fetch(url)) == ALL
        if length:
            found = [one for part in range(3) for one in fetch(url, part, 3)]
            assert urls(found) == ALL
        else:
            with pytest.raises(SourceUnreadable, match="as one part"):
                fetch(url, 0, 3)


def test_a_server_without_ranges_that_breaks_is_read_past_what_we_have() -> None:
    manners = Manners(ARCHIVE, ranges=False)
    with serve(manners) as url:
        manners.break_after = 700_000

        def mend() -> None:
            wait_until(lambda: len(manners.requests) >= 2)
            manners.break_after = None

        helper = threading.Thread(target=mend)
        helper.start()
        assert urls(fetch(url)) == ALL
        helper.join()


@pytest.mark.parametrize("status", [403, 429, 500, 503])
def test_a_refusal_that_may_pass_is_waited_out(status: int) -> None:
    manners = Manners(ARCHIVE, refusals=[(status, None)] * 3)
    with serve(manners) as url:
        assert urls(fetch(url)) == ALL


@pytest.mark.parametrize("dated", [False, True])
def test_retry_after_is_obeyed(dated: bool) -> None:
    after = formatdate(time.time() + 2, usegmt=True) if dated else "1"
    manners = Manners(ARCHIVE, refusals=[(503, after)])
    began = time.monotonic()
    with serve(manners) as url:
        fetch(url)
    assert time.monotonic() - began >= (0.8 if dated else 1.0)


def test_a_retry_after_beyond_our_patience_ends_the_attempt_now() -> None:
    manners = Manners(ARCHIVE, refusals=[(503, "86400")])
    with serve(manners) as url, pytest.raises(SourceUnavailable, match="503"):
        fetch(url)


def test_patience_runs_out() -> None:
    manners = Manners(ARCHIVE, refusals=[(503, None)] * 10_000)
    with serve(manners) as url, pytest.raises(SourceUnavailable, match="gave up"):
        fetch(url, patience=0.3)
    assert len(manners.requests) >= 3


def test_nobody_listening_is_unavailable() -> None:
    with serve(Manners(ARCHIVE)) as url:
        pass
    with pytest.raises(SourceUnavailable, match="could not be read"):
        fetch(url, patience=0.2)


@pytest.mark.parametrize("status", [404, 410, 401])
def test_a_file_that_is_not_there_is_missing(status: int) -> None:
    manners = Manners(ARCHIVE, refusals=[(status, None)])
    with serve(manners) as url, pytest.raises(SourceMissing, match=str(status)):
        fetch(url)


def test_a_file_that_changed_meanwhile_is_noticed() -> None:
    for other, etag in ((ARCHIVE + b"more", '"one"'), (ARCHIVE, '"two"')):
        manners = Manners(ARCHIVE)
        with (
            serve(manners) as url,
            open_chunk(
                Chunk(url, 0, 1), Tally(), user_agent=USER_AGENT, stop=threading.Event()
            ) as reader,
        ):
            manners.break_after = 100_000
            next(reader)
            manners.body, manners.etag = other, etag
            with pytest.raises(SourceUnavailable, match="changed"):
                list(reader)


def test_a_redirect_is_followed_and_one_to_a_file_is_not() -> None:
    with serve(Manners(ARCHIVE)) as url, serve(Manners(b"", redirect=url)) as other:
        assert urls(fetch(other)) == ALL
    for target in ("file:///etc/passwd", "ftp://127.0.0.1/a"):
        manners = Manners(b"", redirect=target)
        with serve(manners) as url, pytest.raises(SourceMissing, match=r"not followed|302"):
            fetch(url)


def test_stop_ends_a_read_that_waits_for_bytes() -> None:
    stop = threading.Event()
    manners = Manners(ARCHIVE, stall=True)
    with serve(manners) as url:
        threading.Timer(0.3, stop.set).start()
        began = time.monotonic()
        with pytest.raises(SourceStopped):
            fetch(url, stop=stop)
        assert time.monotonic() - began < 5


def test_stop_ends_a_pause() -> None:
    stop = threading.Event()
    manners = Manners(ARCHIVE, refusals=[(503, "4")])
    with serve(manners) as url:
        threading.Timer(0.2, stop.set).start()
        began = time.monotonic()
        with pytest.raises(SourceStopped):
            fetch(url, stop=stop)
        assert time.monotonic() - began < 3


def test_a_silent_server_counts_as_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "STALL_SECONDS", 0.2)
    manners = Manners(ARCHIVE, stall=True)
    with serve(manners) as url, pytest.raises(SourceUnavailable):
        manners.body = b"\x1f\x8b\x08"
        fetch(url, patience=0.5)


def test_an_empty_file_on_a_server_is_unreadable() -> None:
    with serve(Manners(b"")) as url, pytest.raises(SourceUnreadable, match="empty"):
        fetch(url)
