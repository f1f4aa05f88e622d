"""The admin's commands, against a real tracker."""

import json
import os

from laion_protocol.messages import LeaseRequest
from tracker.exit_status import USAGE


async def test_accounts_are_made_and_their_token_is_printed_once(run, tracker):
    token = (await run("account", "add", "ann", "--discord-id", "42")).strip()
    assert token.startswith("lw_")
    client = await tracker.client(token)
    assert (await client.lease(LeaseRequest(worker="pc", version="1"))).idle
    assert "already" in await run("account", "add", "ann", status=os.EX_DATAERR)
    wrong = await run("account", "add", "a b", status=USAGE)
    assert "'a b': a name has up to 64 letters" in wrong
    listed = await run("account", "list")
    assert "ann      volunteer" in listed
    assert token.split("_")[2] not in listed
    assert (await run("account", "token", "ann")).strip() != token
    await run("account", "revoke", "ann")
    assert "revoked" in await run("account", "list")
    assert "account_revoke ann  ok" in await run("audit")


async def test_the_numbers_are_shown(run, tracker):
    await tracker.add_crawl("A")
    assert "0/3" in await run("stats")
    assert json.loads(await run("stats", "--json"))["crawls"][0]["name"] == "A"
    await run("crawl", "pause", "nope", status=os.EX_DATAERR)


async def test_the_log_is_filtered_and_tells_what_changed(run, tracker):
    await tracker.add_crawl("A")
    await run("crawl", "pause", "A")
    await run("crawl", "resume", "A")
    log = await run("audit", "--action", "crawl_pause")
    assert log.count("\n") == 1
    assert "crawl_pause A  ok  active -> paused" in log
    rows = json.loads(await run("audit", "--target", "A", "--json"))["rows"]
    assert [row["action"] for row in rows] == ["crawl_resume", "crawl_pause", "crawl_add"]
    told = await run("audit", "--target", "A", "--limit", "2")
    assert told.splitlines()[-1] == f"older ones: --before {rows[1]['id']}"
    older = json.loads(await run("audit", "--before", rows[1]["id"], "--json"))["rows"]
    assert older[0]["action"] == "crawl_add"
    assert await run("audit", "--actor", "nobody") == "no row fits\n"
