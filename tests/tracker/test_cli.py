"""The admin's commands, against a real tracker."""

import asyncio
import json
import os

from click.testing import CliRunner

from laion_protocol.messages import LeaseRequest
from tracker.cli import main


async def test_accounts_are_made_and_their_token_is_printed_once(run, tracker):
    token = (await run("account", "add", "ann", "--discord-id", "42")).strip()
    assert token.startswith("lw_")
    client = await tracker.client(token)
    assert (await client.lease(LeaseRequest(worker="pc", version="1"))).idle
    assert "already" in await run("account", "add", "ann", status=os.EX_DATAERR)
    wrong = await run("account", "add", "a b", status=os.EX_USAGE)
    assert "name: a name has up to 64 letters" in wrong
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
    older = json.loads(await run("audit", "--before", rows[1]["id"], "--json"))["rows"]
    assert older[0]["action"] == "crawl_add"
    assert await run("audit", "--actor", "nobody") == ""


def test_trouble_is_one_sentence_with_its_exit_status(tmp_path, monkeypatch):
    monkeypatch.setattr("tracker.commands.session._PATIENCE", 0)
    token = tmp_path / "token"
    token.write_text("lw_x")

    def fails(*args):
        result = CliRunner().invoke(main, ["stats", *args])
        assert result.output.count("\n") == 1
        assert result.output.startswith("Error: ")
        return result.exit_code, result.output

    there = ["--token-file", str(token), "--tracker"]
    status, output = fails("--data", str(tmp_path / "none"))
    assert (status, "serve --data" in output) == (os.EX_NOINPUT, True)
    status, output = fails(*there, "http://127.0.0.1:1")
    assert (status, "cannot be reached" in output) == (os.EX_UNAVAILABLE, True)
    status, output = fails(*there, "ftp://x")
    assert (status, "not a tracker's URL" in output) == (os.EX_DATAERR, True)
    (tmp_path / "tracker.json").write_text("{}")
    status, output = fails("--data", str(tmp_path))
    assert (status, "tracker.json" in output) == (os.EX_DATAERR, True)


async def test_a_wrong_token_is_told_apart_from_a_wrong_address(tracker, tmp_path):
    token = tmp_path / "token"
    token.write_text("lw_x")
    where = ["--tracker", tracker.url, "--token-file", str(token)]
    result = await asyncio.to_thread(CliRunner().invoke, main, ["account", "list", *where])
    assert result.exit_code == os.EX_NOPERM
