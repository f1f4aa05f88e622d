"""The pair index: filters, reservations, and the files that processes share."""

import multiprocessing
import os
import signal
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laion_protocol import InvalidRequest
from tracker.dedupe import holders, pair_index
from tracker.dedupe.bloom import BlockedBloom, blocks_for
from tracker.dedupe.committed import Committed, paths
from tracker.dedupe.holders import Holders
from tracker.dedupe.pair_index import PairIndex
from tracker.dedupe.reserved import Reserved
from tracker.dedupe.shared_file import BrokenFile

RANDOM = np.random.default_rng(7)


def some(count: int) -> np.ndarray:
    return RANDOM.integers(0, 2**64, count, dtype=np.uint64)


def index(directory, **changes) -> PairIndex:
    sizes = {"capacity": 10_000, "rate": 1e-3, "slots": 2**20, "reserve_for": 3600, **changes}
    return PairIndex(directory / "dedupe", **sizes)


def test_a_filter_knows_all_it_holds_and_strangers_no_more_often_than_it_says(tmp_path):
    bloom = BlockedBloom.create(tmp_path / "x", 50_000, 1e-3)
    keys = some(50_000)
    assert bloom.add(keys) == pytest.approx(50_000, abs=50)  # but for false positives
    assert bloom.add(keys) == 0
    assert bloom.contains(keys).all()
    strangers = bloom.contains(some(1_000_000)).mean()
    assert strangers == pytest.approx(1e-3, rel=0.2)
    assert bloom.rate_now() == pytest.approx(strangers, rel=0.2)
    assert (bloom.rate, bloom.capacity) == (1e-3, 50_000)
    assert bloom.bytes * 8 / 50_000 < 17  # bits a key


def test_another_process_sees_a_filter_as_it_was_left(tmp_path):
    keys = some(1000)
    BlockedBloom.create(tmp_path / "x", 1000, 1e-4).add(keys)
    again = BlockedBloom(tmp_path / "x")
    assert again.contains(keys).all()
    assert (again.capacity, again.held, again.rate) == (1000, 1000, 1e-4)


def test_neighbouring_keys_do_not_answer_for_each_other(tmp_path):
    bloom = BlockedBloom.create(tmp_path / "x", 20_000, 1e-3)
    bloom.add(np.arange(0, 20_000, 2, dtype=np.uint64) << np.uint64(40))
    odd = np.arange(1, 20_000, 2, dtype=np.uint64) << np.uint64(40)
    assert bloom.contains(odd).mean() < 0.01


@pytest.mark.parametrize(("capacity", "rate"), [(0, 0.1), (1, 0), (1, 1)])
def test_a_filter_that_makes_no_sense_is_refused(capacity, rate):
    with pytest.raises(ValueError, match="capacity"):
        blocks_for(capacity, rate)


def test_a_full_filter_gets_a_larger_one_beside_it_and_the_rate_stays(tmp_path):
    committed = Committed(tmp_path, capacity=2_000, rate=1e-2)
    keys = some(30_000)
    for start in range(0, len(keys), 7_000):
        committed.add(keys[start : start + 7_000])
    assert [one.capacity for one in committed.filters] == [2_000, 8_000, 32_000]
    assert all(one.held <= one.capacity for one in committed.filters)
    assert committed.contains(keys).all()
    assert committed.contains(some(200_000)).mean() < 1e-2
    assert [path.name for path in paths(tmp_path)] == [f"committed-00{n}.bloom" for n in range(3)]


def test_the_pairs_of_one_job_are_no_other_jobs(tmp_path):
    pairs = index(tmp_path)
    keys = some(5000)
    assert pairs.ask("c/1", "l1", keys).all()
    assert not pairs.ask("c/2", "l2", keys).any()
    # a lost answer, or the next attempt: the same answer
    assert pairs.ask("c/1", "l1", keys).all()
    assert pairs.ask("c/1", "l3", keys).all()
    mixed = np.concatenate([keys[:10], some(10)])
    assert pairs.ask("c/2", "l2", mixed).tolist() == [False] * 10 + [True] * 10


def test_a_key_that_comes_twice_in_a_question_is_answered_twice(tmp_path):
    keys = np.array([5, 9, 5], np.uint64)
    assert index(tmp_path).ask("c/1", "l", keys).all()
    assert index(tmp_path).ask("c/2", "l", np.array([5, 7, 9, 5], np.uint64)).tolist() == [
        False, True, False, False
    ]  # fmt: skip


def test_a_reservation_ends_by_itself_and_is_renewed_by_asking(tmp_path, monkeypatch):
    now = 1_800_000_000.0
    monkeypatch.setattr(pair_index.time, "time", lambda: now)
    pairs, keys = index(tmp_path, reserve_for=100), some(100)
    pairs.ask("c/1", "l", keys)
    now += 60
    pairs.ask("c/1", "l", keys[:50])
    now += 60
    assert pairs.ask("c/2", "l", keys).tolist() == [False] * 50 + [True] * 50


def test_committed_pairs_are_new_to_nobody_even_to_their_own_job(tmp_path):
    pairs, keys = index(tmp_path), some(1000)
    pairs.ask("c/1", "l", keys)
    pairs.commit(keys)
    pairs.commit(keys)
    assert not pairs.ask("c/1", "l", keys).any()
    again = index(tmp_path)  # after a restart
    assert not again.ask("c/2", "l", keys).any()
    assert again.counters()["known"] == 2000


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(0, 40), st.integers(1, 40), st.integers(0, 30))
    )
)
def test_the_table_agrees_with_a_dictionary(tmp_path_factory, steps):
    table = Reserved(tmp_path_factory.mktemp("r"), most=2**16)
    model: dict[int, tuple[int, int]] = {}
    now = 1000
    for owner, first, count, passed in steps:
        now += passed
        # keys that all want the same few slots
        keys = np.arange(first, first + count, dtype=np.uint64)
        claim = table.claim(owner, keys, now=now, until=now + 50)
        for key, taken, reserved in zip(keys.tolist(), claim.taken, claim.reserved, strict=True):
            whose, until = model.get(key, (owner, 0))
            assert taken == (until > now and whose != owner)
            assert reserved != taken
            if reserved:
                model[key] = (owner, now + 50)
    assert table.alive(now) == sum(until > now for _, until in model.values())


def test_the_table_grows_and_forgets_what_ran_out(tmp_path):
    table = Reserved(tmp_path, most=2**20)
    first, second = some(60_000), some(60_000)
    claim = table.claim(1, first, now=10, until=20)
    assert (claim.reserved.all(), claim.gained, table.slots) == (True, 60_000, 2**18)
    table.claim(1, some(100_000), now=10, until=20)
    assert table.slots == 2**19
    assert table.claim(2, first, now=10, until=20).taken.all()  # nothing got lost on the way
    claim = table.claim(2, second, now=30, until=40)
    assert claim.reserved.all()
    assert table.alive(30) == 60_000
    for _ in range(5):
        table.claim(2, some(60_000), now=50, until=51)
    assert table.slots <= 2**20


def test_a_full_table_takes_no_more_and_loses_no_pair(tmp_path):
    table = Reserved(tmp_path, most=2**16)
    table.claim(1, some(39_000), now=10, until=1000)
    claim = table.claim(2, keys := some(5_000), now=10, until=1000)
    assert not claim.taken.any()
    assert not claim.reserved.any()
    claim = table.claim(3, keys, now=10, until=1000)
    assert not claim.taken.any()


def test_an_attempt_that_took_more_than_any_archive_holds_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pair_index, "MOST_OF_A_LEASE", 100)
    pairs, keys = index(tmp_path), some(100)
    assert pairs.ask("c/1", "l1", keys[:99]).all()
    assert index(tmp_path).ask("c/1", "l1", keys[:99]).all()  # whichever process; again is free
    assert pairs.ask("c/1", "l1", keys).all()
    with pytest.raises(InvalidRequest, match="took 100 pairs, more than an archive file has"):
        index(tmp_path).ask("c/1", "l1", some(1))
    assert pairs.ask("c/3", "l3", some(100)).all()
    assert pairs.counters()["refused"] == 1


def test_an_account_keeps_few_pairs_from_others_however_many_leases_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr(pair_index, "MOST_OF_AN_ACCOUNT", 150)
    pairs, keys, more = index(tmp_path), some(100), some(100)
    assert pairs.ask("c/1", "l1", keys, account="eve").all()
    assert index(tmp_path).ask("c/2", "l2", more, account="eve").all()
    assert pairs.ask("c/2", "l2", more[:50], account="eve").all()
    assert pairs.ask("c/3", "l3", keys, account="ann").sum() == 0
    assert pairs.ask("c/3", "l3", more, account="ann").sum() == 50
    assert pairs.counters()["unreserved"] == 100
    pairs.free(["l1"])
    assert pairs.ask("c/4", "l4", some(100), account="eve").all()
    assert pairs.counters()["unreserved"] == 100


def test_what_an_attempt_reserved_is_free_when_it_is_over(tmp_path):
    pairs, other, keys = index(tmp_path), index(tmp_path), some(1000)
    pairs.ask("c/1", "l1", keys)
    pairs.ask("c/2", "l2", mine := some(1000))
    assert sorted(other.holders()) == ["l1", "l2"]
    assert other.free(["l1", "gone"]) == 1000
    assert pairs.holders() == ("l2",)
    assert pairs.look()[2] == 1000
    assert pairs.ask("c/3", "l3", keys).all()
    assert not pairs.ask("c/3", "l3", mine).any()


def test_the_next_attempt_of_a_job_takes_over_what_the_last_one_left(tmp_path):
    pairs, keys = index(tmp_path), some(1000)
    pairs.ask("c/1", "l1", keys)
    assert pairs.ask("c/1", "l2", keys[:600]).all()
    assert pairs.free(["l1"]) == 400
    assert not pairs.ask("c/2", "l3", keys[:600]).any()
    assert pairs.ask("c/2", "l3", keys[600:]).all()


def test_rows_of_holders_are_used_again_and_never_run_out_unnoticed(tmp_path, monkeypatch):
    monkeypatch.setattr(holders, "ROWS", 3)
    table = Holders(tmp_path)
    rows = [table.row(f"c/{n}", "ann", f"l{n}") for n in range(4)]
    assert rows == [1, 2, 3, 0]
    assert Holders(tmp_path).row("c/1", "ann", "l1") == 2
    table.gained(2, 7)
    assert (table.reserved(2), table.reserved_by("ann"), table.reserved(0)) == (7, 7, 0)
    table.clear([2])
    assert (table.reserved_by("ann"), table.of_job("c/1").tolist()) == (0, [])
    assert table.row("c/9", "bob", "l9") == 2
    assert (table.reserved(2), table.leases()) == (0, {"l0": 1, "l9": 2, "l2": 3})


def test_two_indexes_on_one_directory_are_one(tmp_path):
    one, other = index(tmp_path, capacity=100), index(tmp_path, capacity=100)
    one.ask("c/1", "l", some(10))
    other.ask("c/1", "l", some(10))
    many = some(50_000)  # one makes a larger table and new filters, which the other must notice
    assert one.ask("c/1", "l", many).all()
    assert not other.ask("c/2", "l", many).any()
    one.commit(many)
    assert not other.ask("c/1", "l", many).any()
    assert other.counters() == one.counters()


def ask_until_killed(directory, number: int, together, started) -> None:
    together.wait(60)  # one alone would fill the table
    pairs = index(directory, capacity=1000)
    generator = np.random.default_rng(number)
    while True:
        keys = generator.integers(0, 2**64, 2000, dtype=np.uint64)
        pairs.ask(f"c/{number}", "l", keys)
        pairs.commit(keys[:200])
        started.set()


def test_processes_that_are_killed_leave_files_that_others_go_on_with(tmp_path):
    context = multiprocessing.get_context("spawn")
    processes, together = [], context.Barrier(2)
    for number in range(2):
        started = context.Event()
        process = context.Process(
            target=ask_until_killed, args=(tmp_path, number, together, started), daemon=True
        )
        process.start()
        processes.append((process, started))
    for process, started in processes:
        assert started.wait(30)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    pairs = index(tmp_path, capacity=1000)
    for number in range(2):  # what was answered first stands
        keys = np.random.default_rng(number).integers(0, 2**64, 2000, dtype=np.uint64)
        assert not pairs.ask("c/9", "l", keys).any()
        assert not pairs.ask(f"c/{number}", "l", keys[:200]).any()
        assert pairs.ask(f"c/{number}", "l", keys[200:]).mean() > 0.99
    keys = some(1000)
    pairs.commit(keys)
    assert not pairs.ask("c/9", "l", keys).any()


def killed_at_line(number: int, directory, function, work) -> bool:
    """Whether a process that does `work` was killed at this line of `function`, or came through."""
    child = os.fork()
    if not child:
        left = number

        def line(_frame, event, _argument):
            nonlocal left
            left -= event == "line"
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            return line

        sys.settrace(lambda frame, *_: line if frame.f_code is function.__code__ else None)
        try:
            work(index(directory, capacity=1000))
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_a_rebuild_that_is_killed_anywhere_leaves_the_old_filters_or_the_new_ones(tmp_path):
    old, new = some(3000), some(3000)
    keeper = index(tmp_path, capacity=1000)  # another process, which goes on
    keeper.commit(old)

    def rebuild(pairs: PairIndex) -> None:
        filters = pairs.fresh()
        filters.add(new)
        filters.sync()
        pairs.replace()

    seen = []
    for function in (PairIndex.fresh, PairIndex.replace):
        number = 1
        while killed_at_line(number, tmp_path, function, rebuild):
            for pairs in (keeper, index(tmp_path, capacity=1000)):
                known = pairs.look()[0].contains
                is_new = bool(known(new).all())
                assert is_new or known(old).all(), f"{function.__name__}, line {number}"
                assert known(old if is_new else new).mean() < 0.01
            seen.append(is_new)
            number += 1
            old, new = (new, some(3000)) if is_new else (old, new)
        old, new = new, some(3000)
    assert {True, False} == set(seen)
    assert len(seen) > 8
    rebuild(keeper)
    assert len(list((tmp_path / "dedupe").glob("filters-*"))) == 1


def test_a_process_that_is_killed_while_a_filter_is_made_takes_no_pairs_along(tmp_path):
    keeper, keys, more = index(tmp_path, capacity=1000), some(900), some(900)
    keeper.commit(keys)

    def commit_and_die(pairs: PairIndex) -> None:
        pairs.commit(more)

    number = 0
    while killed_at_line(number := number + 1, tmp_path, PairIndex.commit, commit_and_die):
        keeper.commit(some(900))
        known = index(tmp_path, capacity=1000).look()[0].contains
        assert known(keys).all()
        if number > 3:  # they were in, and it had not come to say so
            assert known(more).all()
    assert number > 4


def test_a_file_that_was_cut_short_is_told_of_by_name(tmp_path):
    pairs = index(tmp_path)
    pairs.commit(some(10))
    path = tmp_path / "dedupe" / "filters-0" / "committed-000.bloom"
    os.truncate(path, path.stat().st_size - 64)
    with pytest.raises(BrokenFile, match=r"committed-000.bloom is broken; .* rebuild"):
        index(tmp_path).ask("c/1", "l", some(1))


def test_nothing_is_on_disk_before_the_first_question(tmp_path):
    index(tmp_path)
    assert not (tmp_path / "dedupe").exists()
