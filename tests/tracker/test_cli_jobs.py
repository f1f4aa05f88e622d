"""`jobs …`: look, take back, undo, at a terminal and for programs."""

import json
import os
from datetime import UTC, datetime, timedelta

import click
import pytest

from laion_protocol import FailureClass, JobState
from laion_protocol.messages import Failure, Heartbeat, LeaseRequest
from tracker.commands.duration import DURATION, MOMENT
from tracker.commands.output import clean, lasting, table
from tracker.exit_status import USAGE

WHY = ("--reason", "gone")


async def lease(worker, name="pc"):
    return (await worker.lease(LeaseRequest(worker=name, version="1"))).lease


@pytest.fixture
async def ann(tracker):
    await tracker.add_crawl("A", files=4)
    return await tracker.worker("ann")


async def test_leased_jobs_are_found_reassigned_and_given_back(run, tracker, ann):
    leases = [await lease(ann, name) for name in ("pc", "pc", "mac")]
    found = await run("jobs", "find", "--account", "ann", "--worker", "pc")
    assert "2 in all" in found
    assert "ann/pc" in found
    assert leases[2].job not in found
    assert "0 in all" in await run("jobs", "find", "--silent-for", "1h")
    dry = await run("jobs", "reassign", "--worker", "pc", *WHY, "--dry-run")
    assert "2 in all" in dry
    await run("jobs", "reassign", "--worker", "pc", *WHY, typed="n\n", status=1)
    await ann.heartbeat(leases[0].lease_id, Heartbeat())
    done = await run("jobs", "reassign", "--worker", "pc", *WHY, typed="y\n")
    assert "Take 2 jobs back?" in done
    assert "2 requeued" in done
    action = done.rpartition("jobs undo ")[2].split()[0]
    assert action in await run("jobs", "actions")
    told = await run("jobs", "undo", action, "--reason", "oops", "--dry-run")
    assert f"{leases[0].job}  would be undone" in told
    undone = await run("jobs", "undo", action, "--reason", "oops")
    assert "2 undone" in undone
    await ann.heartbeat(leases[0].lease_id, Heartbeat())


async def test_programs_get_json_and_no_question(run, ann):
    await lease(ann)
    found = json.loads(await run("jobs", "find", "--json"))
    assert (found["total"], found["jobs"][0]["account"]) == (1, "ann")
    done = json.loads(await run("jobs", "reassign", "--all", *WHY, "--yes", "--json"))
    assert done["verdicts"] == {"requeued": 1}
    undone = json.loads(await run("jobs", "undo", done["action"], *WHY, "--json"))
    assert undone["verdicts"] == {"undone": 1}
    assert json.loads(await run("jobs", "actions", "--json"))["rows"][0]["undone"] == 1
    stale = json.loads(await run("jobs", "stale", "--silent-for", "0", "--json"))
    assert stale["total"] == 1


async def test_more_jobs_than_one_call_takes_are_one_action(run, tracker, monkeypatch):
    monkeypatch.setattr("tracker.commands.job_actions._AT_ONCE", 2)
    await tracker.add_crawl("B", files=5)
    ann = await tracker.worker("ann")
    for _ in range(5):
        await lease(ann)
    done = await run("jobs", "reassign", "--crawl", "B", *WHY, "--yes")
    assert "5 requeued" in done
    action = done.rpartition("jobs undo ")[2].split()[0]
    assert "5 undone" in await run("jobs", "undo", action, "--reason", "x")


async def test_dead_jobs_are_looked_at_and_brought_back(run, tracker):
    admin = await tracker.admin()
    await tracker.add_crawl("A", files=1, max_attempts=1, min_accounts=1)
    worker = await tracker.worker("ann")
    mine = await lease(worker)
    failure = Failure(failure_class=FailureClass.JOB, message="404 \x1b[2Jgone")
    await worker.fail(mine.lease_id, failure)
    assert "404" in await run("jobs", "dead", "--message", "gone")
    shown = await run("jobs", "show", mine.job)
    assert "A/0  dead" in shown
    assert "failed" in shown
    assert "\x1b" not in shown  # a stranger's words do not steer the terminal
    detail = json.loads(await run("jobs", "show", mine.job, "--json"))
    assert detail["attempts"][0]["message"] == failure.message
    assert "0 in all" in await run("jobs", "requeue", "--path", "*/9.*", *WHY, "--dry-run")
    assert "1 requeued" in await run("jobs", "requeue", "--failure-class", "job", *WHY, "--yes")
    assert (await admin.job(mine.job)).state is JobState.PENDING


async def test_jobs_that_do_not_exist_end_the_command_with_an_error(run, ann):
    mine = await lease(ann)
    for dry in (("--dry-run",), ()):
        output = await run("jobs", "requeue", mine.job, "A/99", *WHY, *dry, status=os.EX_DATAERR)
        assert "requeued" in output
        assert "1 of 2 jobs do not exist" in output
    await run("jobs", "show", "A/99", status=os.EX_DATAERR)
    for no_job in ("A", "A/x", "/1", "A/1/2"):
        assert "name a job as <crawl>/<number>" in await run("jobs", "show", no_job, status=USAGE)
    await run("jobs", "undo", "0" * 16, *WHY, status=os.EX_DATAERR)


async def test_a_wrong_command_is_refused_in_words(run, ann):
    assert "say which jobs" in await run("jobs", "reassign", *WHY, status=USAGE)
    assert "not both" in await run("jobs", "requeue", "A/1", "--crawl", "A", *WHY, status=USAGE)
    assert "is no duration" in await run("jobs", "find", "--older-than", "soon", status=USAGE)
    mixed = ("jobs", "find", "--state", "dead", "--silent-for", "1h")
    assert "silent_for asks for leased jobs" in await run(*mixed, status=USAGE)
    wrong = await run("jobs", "find", "--account", "a b", status=USAGE)
    assert "'a b': a name has up to 64 letters" in wrong
    wrong = await run("jobs", "requeue", "A", *WHY, status=USAGE)
    assert "name a job as <crawl>/<number>" in wrong
    await run("jobs", "find", "--crawl", "nope", status=os.EX_DATAERR)


@pytest.mark.parametrize(
    ("typed", "seconds"), [("90", 90), ("1.5s", 1.5), ("30m", 1800), ("2 h", 7200), ("1d", 86400)]
)
def test_a_duration_is_typed_as_people_say_it(typed, seconds):
    assert DURATION.convert(typed, None, None) == timedelta(seconds=seconds)


def test_a_time_is_a_duration_from_now_or_an_iso_time():
    soon = MOMENT.convert("2h", None, None) - datetime.now(UTC)
    assert timedelta(hours=1, minutes=59) < soon <= timedelta(hours=2)
    assert MOMENT.convert("2030-01-02T03:04Z", None, None) == datetime(2030, 1, 2, 3, 4, tzinfo=UTC)
    assert MOMENT.convert("2030-01-02", None, None).tzinfo is UTC
    for wrong in ("", "x", "1w", "9999999d", "-3"):
        with pytest.raises(click.BadParameter):
            MOMENT.convert(wrong, None, None)


def test_a_table_has_columns_and_no_steering():
    lines = table(("A", "LONG"), [("a\x1b[m", 1), ("bbbb", "x" * 200)])
    assert (
        len({line.index(word) for line, word in zip(lines, ("LONG", "1", "xxx"), strict=True)}) == 1
    )
    assert "\x1b" not in "".join(lines)
    assert len(clean("x" * 200)) == 120
    assert lasting(timedelta(days=3, hours=4, seconds=5)) == "3 d 4 h"
    assert lasting(timedelta(0)) == "0 s"
    assert table(("A",), []) == []
