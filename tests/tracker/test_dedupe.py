"""Which pairs are new: what workers are told, and when a pair becomes everybody's."""

import asyncio
import base64
import json
import os

import numpy as np
import pytest
from click.testing import CliRunner

from laion_protocol import Forbidden, InvalidRequest, LeaseLost, NotFound, Role, Unavailable
from laion_protocol.messages import Completion, LeaseRequest, Novelty, PairKeys, Requeue
from laion_protocol.messages.dedupe import MAX_KEYS
from laion_protocol.pair_key import pair_key, sample_id
from tests.tracker.running import RECIPE
from tests.tracker.shards import make_shard, row
from tracker.cli import main
from tracker.dedupe import Dedupe
from tracker.open_store import open_store
from tracker.queue import JobQueue
from tracker.verifier import Verifier
from tracker.verify import ShardChecker

KEYS = PairKeys.of(range(1000, 1100))


async def lease_of(client, worker: str = "pc"):
    answer = await client.lease(LeaseRequest(worker=worker, version="9.9"))
    assert answer.lease is not None, answer
    return answer.lease


def rows_of(*numbers: int) -> list[dict]:
    return [row(number) for number in numbers]


def key_of(row: dict) -> int:
    return pair_key(row["URL"], row["TEXT"])


async def hand_in(client, lease, directory, rows) -> None:
    shard = make_shard(directory, lease.recipe, rows, lease=lease)
    for slot in (await client.plan_uploads(lease.lease_id, shard.files)).slots:
        await client.upload_file(slot, shard.directory / slot.name)
    await client.complete(lease.lease_id, Completion(manifest=shard.manifest))


@pytest.fixture
def dedupe(settings, redis) -> Dedupe:
    """As another process on the tracker's directory has it."""
    return Dedupe(settings.data / "dedupe", redis)


@pytest.fixture
def verifier(redis, settings, dedupe, tracker) -> Verifier:
    return Verifier(JobQueue(redis), open_store(settings), ShardChecker(), settings, dedupe)


def test_a_key_is_64_bits_of_sha_256_and_a_sample_id_63_of_them():
    url, text = "https://example.org/a.jpg", "ein Bild"
    assert f"{pair_key(url, text):016x}" == "fc7beea3e3931076"
    assert sample_id(url, text) == pair_key(url, text) >> 1
    assert pair_key(url, "half a \ud800 pair") == pair_key(url, "half a ? pair")


def test_keys_and_answers_survive_the_wire():
    keys = [0, 1, 2**63, 2**64 - 1]
    assert PairKeys.of(keys).packed() == b"".join(key.to_bytes(8, "little") for key in keys)
    flags = [number % 3 == 0 for number in range(21)]
    answer = Novelty.model_validate_json(Novelty.of(flags).model_dump_json())
    assert (answer.flags(), answer.new, answer.asked) == (flags, 7, 21)
    assert not answer.suspicious
    assert Novelty.of([False] * 51).suspicious
    assert not Novelty.of([False] * 50).suspicious
    with pytest.raises(ValueError, match="bit for each key"):
        Novelty(asked=9, new=0, bitmap=base64.b64encode(b"1").decode())


async def test_a_pair_is_new_to_one_job_only(tracker):
    await tracker.add_crawl()
    ann, bob = await tracker.worker("ann"), await tracker.worker("bob")
    first, second = await lease_of(ann), await lease_of(bob)
    answer = await ann.new_pairs(first.lease_id, KEYS)
    assert (answer.asked, answer.new, answer.suspicious) == (100, 100, False)
    assert await ann.new_pairs(first.lease_id, KEYS) == answer
    answer = await bob.new_pairs(second.lease_id, KEYS)
    assert (answer.asked, answer.new, answer.suspicious) == (100, 0, True)
    more = PairKeys.of(range(1099, 1102))
    assert (await bob.new_pairs(second.lease_id, more)).flags() == [False, True, True]
    state = await (await tracker.admin()).dedupe_state()
    assert (state.asked, state.new, state.taken, state.suspicious) == (303, 202, 101, 1)
    assert (state.reserved, state.filters) == (102, ())


async def test_the_next_attempt_of_a_job_gets_the_answer_of_the_first(tracker):
    await tracker.add_crawl(files=1)
    ann, bob = await tracker.worker("ann"), await tracker.worker("bob")
    lease = await lease_of(ann)
    answer = await ann.new_pairs(lease.lease_id, KEYS)
    await (await tracker.admin()).requeue(Requeue(jobs=(lease.job,), reason="it looked stale"))
    again = await lease_of(bob)
    assert again.job == lease.job
    assert await bob.new_pairs(again.lease_id, KEYS) == answer
    with pytest.raises(LeaseLost):
        await ann.new_pairs(lease.lease_id, KEYS)


async def test_only_the_holder_may_ask(tracker):
    await tracker.add_crawl()
    ann, bob = await tracker.worker("ann"), await tracker.worker("bob")
    lease = await lease_of(ann)
    with pytest.raises(NotFound):
        await bob.new_pairs(lease.lease_id, KEYS)
    with pytest.raises(Forbidden):
        await ann.dedupe_state()
    bot = await tracker.client(await tracker.account("bot", Role.BOT))
    with pytest.raises(Forbidden):
        await bot.new_pairs(lease.lease_id, KEYS)


async def test_a_crawl_without_dedupe_is_not_asked_about(tracker):
    await tracker.add_crawl(recipe=RECIPE.model_copy(update={"dedupe": False}))
    ann = await tracker.worker()
    lease = await lease_of(ann)
    with pytest.raises(InvalidRequest, match="`dedupe` off"):
        await ann.new_pairs(lease.lease_id, KEYS)


async def test_nor_are_its_pairs_committed(tracker, verifier, dedupe, tmp_path):
    await tracker.add_crawl(recipe=RECIPE.model_copy(update={"dedupe": False}))
    ann = await tracker.worker()
    lease = await lease_of(ann)
    await hand_in(ann, lease, tmp_path / "s", rows_of(1))
    await verifier.check_all()
    state = await dedupe.state()
    assert (state.to_commit, state.filters) == (0, ())


@pytest.mark.parametrize(
    "keys",
    ["", "!!!!", base64.b64encode(bytes(7)).decode(), base64.b64encode(bytes(8 * MAX_KEYS + 8))],
)
async def test_keys_that_are_none_are_refused(tracker, keys):
    await tracker.add_crawl()
    lease = await lease_of(await tracker.worker())
    session = await tracker.raw()
    token = await tracker.account("bob")
    body = {"keys": keys if isinstance(keys, str) else keys.decode()}
    path = f"/v1/leases/{lease.lease_id}/dedupe"
    async with session.post(
        path, json=body, headers={"Authorization": f"Bearer {token}"}
    ) as answer:
        assert answer.status == 422
        assert (await answer.json())["error"] == "invalid_request"


async def test_a_full_question_is_answered_in_one_call(tracker):
    await tracker.add_crawl()
    ann = await tracker.worker()
    lease = await lease_of(ann)
    answer = await ann.new_pairs(lease.lease_id, PairKeys.of(range(MAX_KEYS)))
    assert (answer.asked, answer.new, all(answer.flags())) == (MAX_KEYS, MAX_KEYS, True)


async def test_pairs_are_committed_when_their_shard_is_accepted_and_only_those_in_it(
    tracker, verifier, dedupe, tmp_path
):
    await tracker.add_crawl()
    ann, bob = await tracker.worker("ann"), await tracker.worker("bob")
    lease = await lease_of(ann)
    rows = rows_of(*range(10))
    await ann.new_pairs(lease.lease_id, PairKeys.of(map(key_of, rows)))
    await hand_in(ann, lease, tmp_path / "s", rows[:6])
    state = await dedupe.state()
    assert (state.committed, state.to_commit) == (0, 0)
    await verifier.check_all()
    assert (await dedupe.state()).to_commit == 1
    await verifier.commit()
    state = await dedupe.state()
    assert (state.committed, state.to_commit, state.filters[0].held) == (6, 0, 6)
    known = dedupe.index.look()[0].contains
    assert (
        known(np.array([key_of(row) for row in rows], "<u8")).tolist() == [True] * 6 + [False] * 4
    )
    other = await lease_of(bob)
    answer = await bob.new_pairs(other.lease_id, PairKeys.of(map(key_of, rows_of(3, 4, 77))))
    assert answer.flags() == [False, False, True]


async def test_pairs_of_a_rejected_shard_stay_free_for_the_next_attempt(
    tracker, verifier, dedupe, tmp_path
):
    await tracker.add_crawl(files=1)
    ann = await tracker.worker()
    lease = await lease_of(ann)
    await hand_in(ann, lease, tmp_path / "s", [row(1, similarity=0.1)])
    await verifier.check_all()
    await verifier.commit()
    assert (await dedupe.state()).filters == ()


async def test_a_tracker_that_dies_between_accept_and_commit_commits_after_its_restart(
    tracker, verifier, start, tmp_path
):
    await tracker.add_crawl()
    ann = await tracker.worker()
    lease = await lease_of(ann)
    await hand_in(ann, lease, tmp_path / "s", rows_of(1, 2, 3))
    await verifier.check_all()  # and dies here
    again = await start()
    admin = await again.admin()
    async with asyncio.timeout(10):
        while (await admin.dedupe_state()).committed < 3:  # noqa: ASYNC110 (in another task)
            await asyncio.sleep(0.02)
    assert (await admin.dedupe_state()).to_commit == 0


async def test_a_note_of_a_shard_that_was_not_accepted_after_all_is_forgotten(
    tracker, redis, dedupe
):
    await tracker.add_crawl()
    ann = await tracker.worker()
    kept, lost = await lease_of(ann), await lease_of(ann)
    await dedupe.intend(kept.lease_id, "ann", KEYS.packed())
    await dedupe.intend(lost.lease_id, "ann", KEYS.packed())
    await dedupe.intend(f"gone~1~{'0' * 32}", "ann", KEYS.packed())
    await (await tracker.admin()).requeue(Requeue(jobs=(lost.job,), reason="test"))
    assert await dedupe.commit_accepted(JobQueue(redis)) == 0
    notes = [path.name for path in (dedupe.directory / "to-commit").iterdir()]
    assert notes == [f"{kept.lease_id}.keys"]  # its check may still end well
    assert (await dedupe.state()).committed == 0


async def test_one_process_at_a_time_commits(tracker, redis, dedupe, settings):
    await tracker.add_crawl()
    lease = await lease_of(await tracker.worker())
    await dedupe.intend(lease.lease_id, "ann", KEYS.packed())
    other = Dedupe(settings.data / "dedupe", redis)
    with other.exclusively().held():
        assert await dedupe.commit_accepted(JobQueue(redis)) == 0


async def test_files_that_cannot_be_used_cost_no_job(tracker, dedupe):
    await tracker.add_crawl()
    ann = await tracker.worker()
    lease = await lease_of(ann)
    await ann.new_pairs(lease.lease_id, KEYS)
    os.truncate(dedupe.directory / "reserved", 5000)
    with pytest.raises(Unavailable, match="go on without"):
        await dedupe.ask("c/1", "l", "ann", KEYS.packed())


async def rebuilt(tracker):
    admin = await tracker.admin()
    await admin.rebuild_dedupe()
    async with asyncio.timeout(20):
        while (state := await admin.dedupe_state()).busy:  # noqa: ASYNC110 (in another task)
            await asyncio.sleep(0.02)
    return state


async def test_a_rebuild_knows_the_pairs_of_accepted_shards_and_no_others(
    tracker, verifier, dedupe, tmp_path
):
    await tracker.add_crawl()
    await tracker.add_crawl("CC-2", recipe=RECIPE.model_copy(update={"dedupe": False}))
    ann = await tracker.worker()
    for numbers in ((1, 2), (3,), (4,), (5,)):
        lease = await lease_of(ann, "pc")
        await hand_in(ann, lease, tmp_path / str(numbers[0]), rows_of(*numbers))
    await verifier.check_all()
    dedupe.index.commit(np.array([1, 2, 3], "<u8"))  # what no shard has
    await verifier.commit()
    deduped = sum(row.kept for row in await (await tracker.admin()).crawls() if row.name == "CC-1")
    state = await rebuilt(tracker)
    assert (state.filters[0].held, state.to_commit, state.unreadable) == (deduped, 0, 0)
    known = dedupe.index.ask("CC-1/9", "l", np.array([1, 2, 3], "<u8"))
    assert known.all()
    assert [path.name for path in dedupe.directory.glob("filters-*")] == ["filters-1"]


async def test_a_shard_whose_files_are_gone_does_not_end_a_rebuild(
    tracker, verifier, settings, dedupe, tmp_path
):
    await tracker.add_crawl()
    ann = await tracker.worker()
    leases = []
    for number in (1, 2):
        leases.append(await lease_of(ann))
        await hand_in(ann, leases[-1], tmp_path / str(number), rows_of(number))
    await verifier.check_all()
    await verifier.commit()
    [one, _] = sorted((settings.data / "shards").rglob("shard.parquet"))
    one.unlink()
    state = await rebuilt(tracker)
    assert state.filters[0].held == 1


async def test_what_is_accepted_while_a_rebuild_runs_is_committed_after_it(
    tracker, verifier, dedupe, tmp_path, settings, redis
):
    await tracker.add_crawl()
    ann = await tracker.worker()
    lease = await lease_of(ann)
    await hand_in(ann, lease, tmp_path / "s", rows_of(1, 2))
    with Dedupe(settings.data / "dedupe", redis).exclusively().held():  # as a rebuild has it
        await verifier.check_all()
        await verifier.commit()
        state = await dedupe.state()
        assert (state.to_commit, state.committed, state.busy) == (1, 0, True)
    await verifier.commit()
    assert (await dedupe.state()).committed == 2


async def test_the_command_line_shows_and_rebuilds(tracker, verifier, tmp_path):
    await tracker.add_crawl()
    ann = await tracker.worker()
    lease = await lease_of(ann)
    await ann.new_pairs(lease.lease_id, KEYS)
    await hand_in(ann, lease, tmp_path / "s", rows_of(1, 2))
    await verifier.check_all()
    token = tmp_path / "token"
    token.write_text(tracker.admin_token)

    async def command(*arguments: str) -> str:
        options = ["--tracker", tracker.url, "--token-file", str(token)]
        done = await asyncio.to_thread(CliRunner().invoke, main, ["dedupe", *arguments, *options])
        assert done.exit_code == 0, done.output
        return done.output

    assert "100 pairs reserved by 1 attempts, in 65536 slots; 1 shards to commit" in await command(
        "show"
    )
    told = json.loads(await command("rebuild", "--json"))
    assert (told["filters"][0]["held"], told["busy"]) == (2, False)


async def test_pairs_are_not_committed_while_a_power_cut_could_undo_the_acceptance(
    tracker, verifier, redis, dedupe, tmp_path
):
    await tracker.add_crawl()
    ann = await tracker.worker()
    await hand_in(ann, await lease_of(ann), tmp_path / "s", rows_of(1, 2))
    await verifier.check_all()
    careful = Dedupe(dedupe.directory, redis, settle=60)
    assert await careful.commit_accepted(JobQueue(redis)) == 0
    assert (await dedupe.state()).to_commit == 1
    assert await dedupe.commit_accepted(JobQueue(redis)) == 1
