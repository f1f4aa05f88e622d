"""What goes wrong at a terminal at night: one sentence, a status of the table, no traceback."""

import asyncio
import os
import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from laion_protocol import Role
from tracker import cli
from tracker.cli import main
from tracker.commands import output
from tracker.exit_status import MEANINGS, STOPPED, USAGE

ROOT = Path(__file__).parents[2]


def fails(*args):
    """Exit status and the sentence of a command that fails."""
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    *_, last = result.output.strip().splitlines()
    assert last.startswith("Error: "), result.output
    return result.exit_code, last


@pytest.fixture
def token(tmp_path, monkeypatch):
    monkeypatch.setattr("tracker.commands.session._PATIENCE", 0)
    path = tmp_path / "token"
    path.write_text("lw_x")
    return path


def test_every_status_has_its_line_in_the_help_and_in_the_operators_page():
    page = (ROOT / "docs/operating.md").read_text(encoding="utf-8")
    told = {int(row): text for row, text in re.findall(r"^\| (\d+) \| (.+) \|$", page, re.M)}
    assert told == MEANINGS
    shown = CliRunner().invoke(main, ["--help"]).output
    for status, text in MEANINGS.items():
        assert f"{status}  {text.split()[0]}" in shown


def test_no_command_ends_with_a_status_that_is_not_in_the_table():
    sources = [*(ROOT / "tracker").glob("*.py"), *(ROOT / "tracker/commands").glob("*.py")]
    used = {name for path in sources for name in re.findall(r"os\.(EX_[A-Z]+)", path.read_text())}
    assert {getattr(os, name) for name in used} <= set(MEANINGS)
    assert {click.UsageError.exit_code, click.BadParameter.exit_code} == {USAGE}
    assert "EX_USAGE" not in used  # click's own is in all commands


def test_a_fault_nobody_foresaw_is_one_sentence_too(monkeypatch):
    def broken(**_):
        raise RuntimeError("so this happens")

    monkeypatch.setattr(cli.stats, "callback", broken)
    status, sentence = fails("stats")
    assert status == os.EX_SOFTWARE
    assert "RuntimeError('so this happens') at test_cli_trouble.py:" in sentence


def test_a_tracker_that_is_not_there_is_told_apart_from_a_wrong_name(token, tmp_path):
    there = ("--token-file", token, "--tracker")
    status, sentence = fails("stats", "--data", tmp_path / "none")
    assert (status, "serve --data" in sentence) == (os.EX_NOINPUT, True)
    status, sentence = fails("stats", *there, "http://127.0.0.1:1")
    assert (status, "cannot be reached" in sentence) == (os.EX_UNAVAILABLE, True)
    status, sentence = fails("stats", "--tracker", "http://127.0.0.1:1")
    assert (status, "go together" in sentence) == (USAGE, True)
    for url in ("ftp://x", "127.0.0.1:8000", "", "http://[", "http://u:p@h", "http://a b"):
        status, sentence = fails("stats", *there, url)
        assert (status, "not a tracker's URL" in sentence) == (USAGE, True)


@pytest.mark.parametrize("written", ["{}", "[]", "no", '{"url": 5}', '{"url": "ftp://x"}'])
def test_an_address_that_no_tracker_wrote_is_said(token, tmp_path, written):
    (tmp_path / "tracker.json").write_text(written)
    status, sentence = fails("stats", "--data", tmp_path)
    assert status == os.EX_DATAERR
    assert f"{tmp_path / 'tracker.json'} is not what a tracker writes" in sentence


@pytest.mark.parametrize("secret", [b"", b"two words", b"snow \xe2\x98\x83", b"\xff\xfe", b"a\nb"])
def test_a_file_without_a_token_is_said_and_not_shown(token, secret):
    token.write_bytes(secret)
    status, sentence = fails("stats", "--token-file", token, "--tracker", "http://127.0.0.1:1")
    assert status == os.EX_DATAERR
    assert sentence == (
        f"Error: {token} is not what a tracker writes; name the right file or directory"
    )
    status, sentence = fails(
        "stats", "--token-file", token.with_name("none"), "--tracker", "http://127.0.0.1:1"
    )
    assert (status, "--token-file" in sentence) == (os.EX_NOINPUT, True)


@pytest.mark.parametrize(
    "words",
    [
        ("crawl", "pause"), ("crawl", "finish", "--yes"), ("account", "show"),
        ("account", "revoke"), ("worker", "show", "ann"), ("jobs", "show"),
        ("jobs", "undo", "--reason", "x"), ("worker", "ban", "ann", "--reason", "x"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["a/b/c", "..", "", "\N{SNOWMAN}", "a b", "a\nb"])
def test_a_name_that_can_be_none_is_refused_before_anybody_is_asked(token, words, name):
    there = ("--token-file", token, "--tracker", "http://127.0.0.1:1")
    status, _ = fails(*words, name, *there)
    assert status == USAGE


async def test_who_may_not_is_told_so(tracker, token):
    where = ("--tracker", tracker.url, "--token-file", token)
    assert (await asyncio.to_thread(fails, "account", "list", *where))[0] == os.EX_NOPERM
    token.write_text(await tracker.account("ann", Role.VOLUNTEER))
    assert (await asyncio.to_thread(fails, "crawl", "pause", "A", *where))[0] == os.EX_NOPERM


async def test_without_anybody_to_ask_the_command_says_how_not_to_be_asked(run):
    for command in (("crawl", "finish", "A"), ("crawl", "remove", "A")):
        assert "--yes does not ask" in await run(*command, status=USAGE)
        assert "Aborted" in await run(*command, typed="n\n", status=STOPPED)


async def test_a_reason_is_asked_for_before_anything_else(run):
    for command in (("jobs", "requeue", "--all"), ("project", "pause"), ("account", "ban", "ann")):
        told = await run(*command, "--reason", "", status=USAGE)
        assert "'--reason': '': must have at least 1 character" in told


async def test_the_only_admin_does_not_lock_itself_out(run, tracker):
    told = await run("account", "revoke", "root0", status=os.EX_DATAERR)
    assert "let another admin revoke it" in told
    assert "root0" in await run("account", "list")


async def test_a_mistyped_account_fits_no_job_and_is_said(run):
    for command in (("jobs", "find"), ("jobs", "reassign", "--reason", "x")):
        assert "there is no account 'nobody'" in await run(
            *command, "--account", "nobody", status=os.EX_DATAERR
        )


def test_a_reader_that_goes_away_is_no_fault(monkeypatch):
    def gone(*_args, **_more):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(output.click, "echo", gone)
    monkeypatch.setattr(cli.stats, "callback", lambda **_: output.click.echo("x"))
    result = CliRunner().invoke(main, ["stats"])
    assert (result.exit_code, result.output) == (STOPPED, "")
