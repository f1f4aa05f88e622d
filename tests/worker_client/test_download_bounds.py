"""How much the downloader does and holds at once, and how it stops."""

import threading
import time

import pytest

from laion_protocol import DropReason
from tests.worker_client.image_server import BODY, ImageServer
from worker_client.pipeline import budget as budget_module
from worker_client.pipeline.download import Downloader, DownloadSettings
from worker_client.samples import Dropped, Fetched, Pair

AGENT = "laion-worker/0.1 (+https://example.org/bot)"


def settings(server, **changes):
    values = {
        "user_agent": AGENT,
        "allow_private": frozenset({server.endpoint}),
        "connect_to": server.endpoint,
        "per_host_delay": 0,
        "timeout": 10.0,
    }
    return DownloadSettings(**values | changes)


def pairs(count, hosts=50, path="/ok"):
    return [Pair(f"http://host{n % hosts}.test{path}/{n}", "t", "") for n in range(count)]


def threads():
    return {thread.name for thread in threading.enumerate()}


def test_three_thousand_pictures_arrive_within_the_bounds():
    crowd = [Pair(f"http://crowded.test/ok/{n}", "t", "") for n in range(300)]
    wanted = [*crowd, *pairs(2700, hosts=100)]
    with ImageServer(latency=0.005) as server:
        with Downloader(settings(server, in_flight=32, per_host=2)) as downloader:
            found = list(downloader.fetch(wanted, threading.Event()))
        assert {item.pair.url for item in found} == {pair.url for pair in wanted}
        assert len(found) == len(wanted)
        assert all(isinstance(item, Fetched) and item.body == BODY for item in found)
        assert 8 <= server.peak <= 32
        assert max(server.peak_by_host.values()) <= 2
    assert "download" not in threads()


def test_one_slow_host_does_not_hold_up_the_others():
    mixed = [Pair(f"http://slow.test/hang/{n}", "t", "") for n in range(20)] + pairs(100)
    with ImageServer() as server, Downloader(settings(server, in_flight=8)) as downloader:
        results = downloader.fetch(mixed, threading.Event())
        started = time.monotonic()
        first = [next(results) for _ in range(100)]
        assert all(isinstance(item, Fetched) for item in first)
        assert time.monotonic() - started < 5
        results.close()


def test_a_host_is_not_asked_faster_than_its_delay():
    with ImageServer() as server:
        slow = settings(server, per_host=4, per_host_delay=0.1)
        with Downloader(slow) as downloader:
            started = time.monotonic()
            assert len(list(downloader.fetch(pairs(6, hosts=1), threading.Event()))) == 6
            assert time.monotonic() - started >= 0.5


def test_pairs_are_pulled_only_when_there_is_room():
    pulled = 0

    def source():
        nonlocal pulled
        for pair in pairs(500):
            pulled += 1
            yield pair

    with (
        ImageServer() as server,
        Downloader(settings(server, in_flight=4, waiting=6)) as downloader,
    ):
        results = downloader.fetch(source(), threading.Event())
        assert pulled == 0
        for taken in range(1, 51):
            next(results)
            assert pulled <= taken + 10
        results.close()
    assert "download" not in threads()


def test_bodies_held_are_bounded():
    """With a budget of three bodies, no more than a few are asked for until one is taken."""
    with ImageServer() as server:
        tight = settings(server, in_flight=2, max_buffered=3 * len(BODY))
        with Downloader(tight) as downloader:
            results = downloader.fetch(pairs(100), threading.Event())
            next(results)
            time.sleep(0.5)
            assert len(server.seen) <= 3 + 2 + 1
            assert len(list(results)) == 99  # and it goes on when they are taken


def test_a_budget_filled_by_hostile_bodies_pauses_them_and_recovers():
    endless = [Pair(f"http://bad{n}.test/endless/{n}", "t", "") for n in range(8)]
    with ImageServer() as server:
        tight = settings(server, in_flight=8, max_buffered=200_000, max_bytes=400_000, timeout=4.0)
        peak = 0
        real_add = budget_module.Budget.add

        def add(budget, count):
            nonlocal peak
            real_add(budget, count)
            peak = max(peak, budget._held)

        with pytest.MonkeyPatch.context() as patch, Downloader(tight) as downloader:
            patch.setattr(budget_module.Budget, "add", add)
            found = list(downloader.fetch([*endless, *pairs(20)], threading.Event()))
    reasons = [item.reason for item in found if isinstance(item, Dropped)]
    assert set(reasons) <= {DropReason.TIMEOUT, DropReason.TOO_MANY_BYTES}
    assert len(reasons) == 8
    assert len(found) == 28
    # twice the budget, one body that may go on, and a piece of each; unbounded it is 8 * 400,000
    assert peak < 2 * 200_000 + 400_000 + 8 * 2**16


def test_a_piece_that_was_kept_while_paused_may_be_the_one_too_many():
    """The second piece of each body waits in libcurl, and is over the cap when it goes on."""
    endless = [Pair(f"http://bad{n}.test/endless/{n}", "t", "") for n in range(6)]
    with ImageServer() as server:
        for _ in range(3):
            tight = settings(server, in_flight=6, max_buffered=1, max_bytes=len(BODY) * 3 // 2)
            with Downloader(tight) as downloader:
                found = list(downloader.fetch(endless, threading.Event()))
            assert [item.reason for item in found] == [DropReason.TOO_MANY_BYTES] * 6


def test_large_bodies_that_fill_the_budget_together_all_arrive():
    large = bytes(300_000)
    with ImageServer(files={"large.jpg": large}) as server:
        tight = settings(server, in_flight=6, max_buffered=300_000, timeout=8.0)
        wanted = [Pair(f"http://host{n}.test/file/large.jpg", "t", "") for n in range(12)]
        with Downloader(tight) as downloader:
            found = []
            for item in downloader.fetch(wanted, threading.Event()):
                found.append(item)
                time.sleep(0.02)
    assert len(found) == 12
    assert all(isinstance(item, Fetched) and item.body == large for item in found)


def test_the_stop_event_ends_a_run_at_once():
    stop = threading.Event()
    with ImageServer() as server, Downloader(settings(server, in_flight=16)) as downloader:
        results = downloader.fetch(pairs(20) + pairs(200, path="/hang"), stop)
        assert [next(results) for _ in range(20)]
        threading.Timer(0.2, stop.set).start()
        started = time.monotonic()
        assert list(results) == []
        assert time.monotonic() - started < 3
    assert "download" not in threads()


def test_a_stop_before_the_start_pulls_nothing():
    stop = threading.Event()
    stop.set()
    with ImageServer() as server, Downloader(settings(server)) as downloader:
        assert list(downloader.fetch(iter(pairs(10)), stop)) == []
        assert server.seen == []


def test_an_iterator_that_is_closed_leaves_no_thread_behind():
    with ImageServer() as server, Downloader(settings(server)) as downloader:
        mixed = [*pairs(200, path="/hang"), Pair("http://well.test/ok/1", "t", "")]
        results = downloader.fetch(mixed, threading.Event())
        next(results)
        assert "download" in threads()
        results.close()
        assert "download" not in threads()


def test_a_source_that_fails_is_heard_and_leaves_no_thread_behind():
    def source():
        yield from pairs(5)
        raise OSError("the archive broke off")

    with ImageServer() as server, Downloader(settings(server)) as downloader:
        with pytest.raises(OSError, match="broke off"):
            list(downloader.fetch(source(), threading.Event()))
        assert "download" not in threads()
        assert len(list(downloader.fetch(pairs(5), threading.Event()))) == 5


def test_a_fault_of_the_download_thread_is_raised_where_the_results_are_read(monkeypatch):
    def broken(*_):
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("worker_client.pipeline.transfer_loop.target_refused", broken)
    with (
        ImageServer() as server,
        Downloader(settings(server)) as downloader,
        pytest.raises(RuntimeError, match="a fault of ours"),
    ):
        list(downloader.fetch(pairs(5), threading.Event()))
