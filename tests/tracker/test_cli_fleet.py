"""`worker …`, `account …`, `project …`: who takes part, and what holds for everybody."""

import json
import os

from laion_protocol import IdleReason
from laion_protocol.messages import LeaseRequest
from tracker.exit_status import USAGE

WHY = ("--reason", "spam")


async def ask(worker, name="pc"):
    return await worker.lease(LeaseRequest(worker=name, version="0.1.0"))


async def test_a_worker_is_listed_banned_shown_and_pardoned(run, tracker):
    await tracker.add_crawl("A", files=4)
    ann = await tracker.worker("ann")
    assert (await ask(ann)).lease
    listed = await run("worker", "list", "--seen-within", "5m")
    assert "ann/pc" in listed
    assert "0.1.0" in listed
    assert "only the first" not in listed
    assert "only the first 1: --limit" in await run("worker", "list", "--limit", "1")
    assert "would be banned" in await run("worker", "ban", "ann", "pc", *WHY, "--dry-run")
    banned = await run("worker", "ban", "ann", "pc", *WHY)
    assert "ann/pc is banned, was active; 1 lease was taken from it" in banned
    assert "active -> state banned, cancelled 1\n" in await run("audit", "--action", "worker_ban")
    assert (await ask(ann)).idle.reason is IdleReason.BANNED
    shown = await run("worker", "show", "ann", "pc")
    assert "banned by root0 since" in shown
    assert "spam" in shown
    assert json.loads(await run("worker", "show", "ann", "pc", "--json"))["state"] == "banned"
    assert "ann/pc" in await run("worker", "list", "--state", "banned")
    assert "no worker" in await run("worker", "list", "--state", "draining")
    assert "is active, was banned" in await run("worker", "pardon", "ann", "pc", *WHY)
    assert (await ask(ann)).lease
    drained = await run("worker", "drain", "ann", "pc", *WHY, "--until", "2h")
    assert "is draining until" in drained
    await run("worker", "show", "ann", "nothing", status=os.EX_DATAERR)
    await run("worker", "ban", "ann", "nothing", *WHY, status=os.EX_DATAERR)


async def test_an_account_is_shown_banned_and_pardoned(run, tracker):
    ann = await tracker.worker("ann")
    await ask(ann)
    shown = await run("account", "show", "ann")
    assert "volunteer" in shown
    assert "ann/pc" in shown
    assert "TOKEN" in await run("account", "tokens", "ann")
    row, tokens, fleet = json.loads(await run("account", "show", "ann", "--json"))
    assert (row["name"], len(tokens["rows"]), len(fleet["rows"])) == ("ann", 1, 1)
    banned = json.loads(await run("account", "ban", "ann", *WHY, "--json"))
    assert (banned["worker"], banned["state"]) == (None, "banned")
    assert "banned" in await run("account", "list")
    assert (await ask(ann)).idle.reason is IdleReason.BANNED
    await run("account", "pardon", "ann", *WHY)
    assert (await ask(ann)).idle.reason is IdleReason.NO_WORK
    await run("account", "show", "nobody", status=os.EX_DATAERR)
    assert "has no end" not in await run("account", "drain", "ann", *WHY)
    assert "over" in await run("account", "drain", "ann", *WHY, "--until", "2020-01-01",
                               status=os.EX_DATAERR)  # fmt: skip


async def test_the_project_is_paused_rests_and_goes_on(run, tracker):
    assert "hands out jobs" in await run("project", "show")
    assert "paused: new disks" in await run("project", "pause", "--reason", "new disks")
    assert "hands out jobs" in await run("project", "resume")
    rests = await run("project", "maintenance", "--until", "2h", "--reason", "move")
    assert "maintenance until" in rests
    assert "hands out jobs" in await run("project", "maintenance", "--end")
    assert json.loads(await run("project", "show", "--json"))["maintenance"] is None
    assert "say --until" in await run("project", "maintenance", status=USAGE)
    both = ("project", "maintenance", "--end", "--until", "2h")
    assert "goes alone" in await run(*both, status=USAGE)


async def test_old_workers_are_told_to_update(run, tracker):
    wanted = ("--least", "1.0", "--required-after", "7d", "--recommended", "1.2")
    told = await run("project", "worker-version", *wanted, "--reason", "a leak")
    assert "workers need 1.0 from" in told
    assert "1.2 is recommended: a leak" in told
    assert "need" not in await run("project", "worker-version", "--clear")
    assert "say --least" in await run("project", "worker-version", status=USAGE)


async def test_something_is_announced_and_taken_back(run, tracker):
    number = json.loads(await run("announce", "thank you", "--until", "1d", "--json"))["id"]
    assert "thank you" in await run("project", "show")
    assert "thank you" not in await run("withdraw", str(number))
    assert "text: must have at least 1" in await run("announce", "", status=USAGE)
