"""Who may start when, and which host is left alone. No network; the time is given."""

from laion_protocol import DropReason
from worker_client.pipeline import breaker as breaker_module
from worker_client.pipeline.breaker import Breaker
from worker_client.pipeline.hosts import HostQueues


def started(queues, now):
    items = []
    while (item := queues.start(now)) is not None:
        items.append(item)
    return items


def test_a_host_has_at_most_its_share_active():
    queues = HostQueues(per_host=2, delay=0)
    for item in ("a1", "a2", "a3"):
        queues.add("a", item)
    assert started(queues, 0) == ["a1", "a2"]
    queues.done("a")
    assert started(queues, 0) == ["a3"]


def test_hosts_take_turns():
    queues = HostQueues(per_host=3, delay=0)
    for item in ("a1", "a2", "b1", "b2"):
        queues.add(item[0], item)
    assert started(queues, 0) == ["a1", "b1", "a2", "b2"]


def test_a_host_rests_between_two_starts():
    queues = HostQueues(per_host=2, delay=1.0)
    queues.add("a", "a1")
    queues.add("a", "a2")
    assert started(queues, 10.0) == ["a1"]
    assert queues.next_start() == 11.0
    assert started(queues, 10.9) == []
    assert started(queues, 11.0) == ["a2"]


def test_a_host_that_ran_empty_still_rests():
    queues = HostQueues(per_host=2, delay=1.0)
    queues.add("a", "a1")
    assert started(queues, 10.0) == ["a1"]
    queues.done("a")
    queues.add("a", "a2")
    assert started(queues, 10.5) == []
    assert started(queues, 11.0) == ["a2"]


def test_a_start_that_sent_nothing_costs_no_rest():
    queues = HostQueues(per_host=2, delay=1.0)
    queues.add("a", "a1")
    queues.add("a", "a2")
    assert queues.start(10.0) == "a1"
    queues.done("a", started=False)
    assert queues.start(10.0) == "a2"


def test_what_is_under_way_goes_before_what_waits():
    queues = HostQueues(per_host=1, delay=0)
    queues.add("a", "a1")
    queues.add("a", "a2", first=True)
    assert queues.start(0) == "a2"


def test_hosts_are_forgotten_once_they_have_rested():
    queues = HostQueues(per_host=1, delay=1.0)
    for number in range(100):
        queues.add(f"host{number}", number)
    assert len(started(queues, 0)) == 100
    for number in range(100):
        queues.done(f"host{number}")
    assert started(queues, 0.5) == []
    assert queues.next_start() == 1.0
    assert started(queues, 1.0) == []
    assert queues.next_start() is None
    assert not queues._hosts


def test_a_host_is_left_alone_after_failures_in_a_row_and_tried_again_later():
    breaker = Breaker(failures=3, pause=60)
    for now in (1, 2):
        breaker.failed("a", DropReason.CONNECT, now)
    assert breaker.verdict("a", 2) is None
    breaker.failed("a", DropReason.DNS, 3)
    assert breaker.verdict("a", 4) is DropReason.DNS
    assert breaker.verdict("b", 4) is None
    assert breaker.verdict("a", 63) is None
    breaker.failed("a", DropReason.CONNECT, 64)
    assert breaker.verdict("a", 65) is DropReason.CONNECT


def test_an_answer_wipes_the_slate():
    breaker = Breaker(failures=2, pause=60)
    breaker.failed("a", DropReason.CONNECT, 1)
    breaker.answered("a")
    breaker.failed("a", DropReason.CONNECT, 2)
    assert breaker.verdict("a", 3) is None


def test_the_breaker_remembers_a_bounded_number_of_hosts(monkeypatch):
    monkeypatch.setattr(breaker_module, "MAX_HOSTS", 2)
    breaker = Breaker(failures=1, pause=60)
    for host in ("a", "b", "c"):
        breaker.failed(host, DropReason.CONNECT, 1)
    assert breaker.verdict("a", 2) is None
    assert breaker.verdict("c", 2) is DropReason.CONNECT
