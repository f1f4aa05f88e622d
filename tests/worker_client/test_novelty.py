"""The novelty stage, and what the worker makes of a tracker that forgets, lies or is away."""

import asyncio
import base64
import json
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from itertools import islice

import numpy as np
import pytest
from aiohttp import web

from laion_protocol import DropReason, LeaseLost, Recipe
from laion_protocol.client import TrackerClient
from laion_protocol.messages import Lease, Novelty
from laion_protocol.pair_key import pair_key
from tests.worker_client.project import Said, accepted
from tracker.dedupe import Dedupe
from worker_client import new_pairs
from worker_client.new_pairs import NewPairs, NothingNew
from worker_client.pipeline.novelty import Novelty as Stage
from worker_client.samples import Dropped, Pair


def pairs(count: int) -> list[Pair]:
    return [
        Pair(f"http://s.example/{n}.jpg", f"picture {n}", "http://s.example/") for n in range(count)
    ]


class Asked:
    """Answers at once, or when told; notes the questions."""

    def __init__(self, is_new: Callable[[int], bool] = lambda key: True, later: bool = False):
        self.questions: list[list[int]] = []
        self.open: list[Future] = []
        self._is_new = is_new
        self._later = later

    def __call__(self, keys):
        answer: Future[list[bool]] = Future()
        self.questions.append(list(keys))
        self.open.append(answer)
        if not self._later:
            self.answer()
        return answer

    def answer(self) -> None:
        self.open.pop().set_result([self._is_new(key) for key in self.questions[-1]])


def test_known_pairs_are_dropped_by_name_and_all_others_go_on_in_order() -> None:
    found = pairs(3000)
    known = {pair_key(pair.url, pair.text) for pair in found[::3]}
    dropped = Dropped(found[0], DropReason.URL_TOO_LONG)
    ask = Asked(lambda key: key not in known)
    items = list(Stage(ask, threading.Event()).sift([dropped, *found, dropped]))
    assert [item for item in items if isinstance(item, Pair)] == [
        pair for number, pair in enumerate(found) if number % 3
    ]
    reasons = [item.reason for item in items if isinstance(item, Dropped)]
    assert reasons.count(DropReason.KNOWN_PAIR) == 1000
    assert reasons.count(DropReason.URL_TOO_LONG) == 2
    assert len(items) == 3002
    assert sum(map(len, ask.questions)) == 3000


def test_batches_grow_to_ten_thousand_and_no_further() -> None:
    ask = Asked()
    assert sum(1 for _ in Stage(ask, threading.Event()).sift(pairs(31_000))) == 31_000
    assert [len(keys) for keys in ask.questions] == [500, 2000, 8000, 10_000, 10_000, 500]


def test_without_pairs_nobody_is_asked() -> None:
    ask = Asked()
    dropped = Dropped(pairs(1)[0], DropReason.LANGUAGE)
    assert list(Stage(ask, threading.Event()).sift([dropped])) == [dropped]
    assert ask.questions == []


def test_the_next_batch_is_asked_about_before_the_last_is_used_up() -> None:
    ask = Asked()
    sifted = Stage(ask, threading.Event()).sift(pairs(20_000))
    list(islice(sifted, 350))
    assert len(ask.questions) == 1  # 2,000 are not read yet …
    list(islice(sifted, 100))
    assert len(ask.questions) == 2  # … and now they are, while 50 of the first 500 are left
    list(islice(sifted, 50 + 1900))
    assert len(ask.questions) == 3
    assert sum(1 for _ in sifted) == 20_000 - 2400


def test_reading_goes_on_while_an_answer_is_awaited() -> None:
    ask = Asked(later=True)
    read = []

    def source():
        for number, pair in enumerate(pairs(5000)):
            read.append(number)
            if number == 2000:
                ask.answer()
            yield pair

    next(Stage(ask, threading.Event()).sift(source()))
    assert 2000 <= len(read) <= 2510


def test_a_stop_ends_the_wait_for_an_answer() -> None:
    stop, ask = threading.Event(), Asked(later=True)
    threading.Timer(0.1, stop.set).start()
    assert list(Stage(ask, stop).sift(pairs(10))) == []
    assert ask.open[0].cancelled()


def test_what_the_question_raises_the_stage_raises() -> None:
    def ask(keys):
        answer: Future[list[bool]] = Future()
        answer.set_exception(LeaseLost("gone"))
        return answer

    with pytest.raises(LeaseLost):
        list(Stage(ask, threading.Event()).sift(pairs(10)))


# ── the tracker's end ────────────────────────────────────────────────────────────────────────────

LEASE = Lease(
    lease_id=f"c~1~{'0' * 32}", job="c/1", source="x", part=0, parts=1,
    recipe=Recipe(kind="warc", dedupe=True), recipe_sha256="0" * 64, attempt=1,
    deadline="2030-01-01T00:00:00Z", heartbeat_seconds=60,
)  # fmt: skip


class FlakyTracker:
    """Answers questions with what `say` makes of them."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.say: Callable[[list[int]], Novelty | int] = lambda keys: Novelty.of([True] * len(keys))

    async def answer(self, request: web.Request) -> web.Response:
        packed = base64.b64decode(json.loads(await request.read())["keys"])
        keys = [int.from_bytes(packed[at : at + 8], "little") for at in range(0, len(packed), 8)]
        self.asked.append(len(keys))
        said = self.say(keys)
        if isinstance(said, int):
            error = {503: "unavailable", 409: "lease_lost"}[said]
            return web.json_response({"error": error, "message": "busy"}, status=said)
        return web.json_response(said.model_dump())


@pytest.fixture
async def flaky() -> AsyncIterator[tuple[FlakyTracker, NewPairs, Said]]:
    tracker, said = FlakyTracker(), Said()
    app = web.Application()
    app.router.add_post("/v1/leases/{id}/dedupe", tracker.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    async with TrackerClient(url, "t", patience=0) as client:
        yield tracker, NewPairs(client, LEASE, said), said
    await runner.cleanup()


async def ask(asker: NewPairs, count: int) -> list[bool]:
    return await asyncio.wrap_future(asker(range(count)))


async def test_nothing_new_is_asked_again_and_believed_when_it_was_a_slip(flaky) -> None:
    tracker, asker, _ = flaky
    answers = iter([[False] * 60, [True] * 60])
    tracker.say = lambda keys: Novelty.of(next(answers))
    assert await ask(asker, 60) == [True] * 60
    assert tracker.asked == [60, 60]


async def test_nothing_new_said_twice_fails_the_job_instead_of_emptying_it(flaky) -> None:
    tracker, asker, _ = flaky
    tracker.say = lambda keys: Novelty.of([False] * len(keys))
    with pytest.raises(NothingNew, match="none of 51 pairs"):
        await ask(asker, 51)
    assert tracker.asked == [51, 51]


async def test_a_few_known_pairs_are_no_wonder(flaky) -> None:
    tracker, asker, _ = flaky
    tracker.say = lambda keys: Novelty.of([False] * len(keys))
    assert await ask(asker, 50) == [False] * 50
    assert tracker.asked == [50]


async def test_the_end_of_an_archive_may_be_all_known_but_not_a_thousand_pairs(flaky) -> None:
    tracker, asker, _ = flaky
    await ask(asker, 500)
    tracker.say = lambda keys: Novelty.of([False] * len(keys))
    assert await ask(asker, 300) == [False] * 300
    with pytest.raises(NothingNew):
        await ask(asker, 1000)


async def test_a_question_that_was_cut_short_on_the_way_is_not_believed(flaky) -> None:
    tracker, asker, said = flaky
    tracker.say = lambda keys: Novelty.of([False])  # as if one key had come
    assert await ask(asker, 200) == [True] * 200
    assert "200 pairs were asked about, and 1 answered" in said


async def test_while_the_tracker_is_away_all_pairs_are_new_and_it_is_said_once(
    flaky, monkeypatch
) -> None:
    tracker, asker, said = flaky
    tracker.say = lambda keys: 503
    assert await ask(asker, 200) == [True] * 200
    assert await ask(asker, 200) == [True] * 200
    assert tracker.asked == [200]  # and is left alone for a while
    assert len(said.lines) == 1
    asker._away_until = 0.001  # the while is over
    tracker.say = lambda keys: Novelty.of([key % 2 == 0 for key in keys])
    assert sum(await ask(asker, 200)) == 100


async def test_a_lost_lease_is_no_silence(flaky) -> None:
    tracker, asker, _ = flaky

    tracker.say = lambda keys: 409
    with pytest.raises(LeaseLost):
        await ask(asker, 10)


# ── the whole worker ─────────────────────────────────────────────────────────────────────────────


async def test_the_second_archive_with_the_same_pages_gives_no_pair_twice(start) -> None:
    p = await start(files=2, checkers=1, recipe={"dedupe": True})
    await p.run(most_jobs=2)
    await accepted(p, 2)
    stats = await p.stats()
    assert (stats.kept, stats.pairs) == (3, 6)
    assert stats.drops == {DropReason.KNOWN_PAIR: 3}


async def test_a_crawl_without_dedupe_keeps_them_all(start) -> None:
    p = await start(files=2, checkers=1, recipe={"dedupe": False})
    await p.run(most_jobs=2)
    await accepted(p, 2)
    assert (await p.stats()).kept == 6
    assert (await (await p.tracker.admin()).dedupe_state()).asked == 0


async def test_a_tracker_that_knows_everything_gets_a_failed_job_and_no_empty_shard(
    start, monkeypatch
) -> None:
    monkeypatch.setattr(new_pairs, "SUSPICIOUS_FROM", 3)
    p = await start(checkers=1, recipe={"dedupe": True})
    found = [pair_key(f"http://site.example/{n}.png", f"picture number {n}") for n in range(3)]
    index = Dedupe(p.tracker.settings.data / "dedupe", p.tracker.redis).index
    index.commit(np.array(found, "<u8"))
    await p.run(most_jobs=1)
    assert "failed (server): the tracker says that none of 3 pairs" in p.said
    stats = await p.stats()
    assert (stats.jobs.accepted, stats.jobs.verifying) == (0, 0)
