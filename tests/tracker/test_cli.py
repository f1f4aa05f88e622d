"""The admin's commands, against a real tracker."""

import asyncio
import gzip
import json
import os

import pytest
from click.testing import CliRunner

from laion_protocol import Recipe
from laion_protocol.messages import LeaseRequest
from tracker.cli import main

OWN = {"kind", "model"}


@pytest.fixture
async def run(tracker, tmp_path):
    """Runs a command against the tracker; its result."""
    token = tmp_path / "token"
    token.write_text(tracker.admin_token + "\n")

    async def run(*args, status=0):
        where = ["--tracker", tracker.url, "--token-file", str(token)]
        result = await asyncio.to_thread(CliRunner().invoke, main, [*args, *where])
        assert result.exit_code == status, result.output
        assert "Traceback" not in result.output
        return result.output

    return run


@pytest.fixture
def archive(tmp_path):
    """A directory with two files and a gzipped list of them."""
    (tmp_path / "warc").mkdir()
    for name in ("a.warc.gz", "b.warc.gz"):
        (tmp_path / "warc" / name).write_bytes(b"x")
    paths = tmp_path / "warc.paths.gz"
    paths.write_bytes(gzip.compress(b"warc/a.warc.gz\n\nwarc/b.warc.gz\n"))
    return tmp_path, paths


async def test_a_crawl_is_added_listed_paused_and_resumed(run, tracker, archive):
    base, paths = archive
    add = ("crawl", "add", "A", "--paths", str(paths), "--base", str(base), "--kind", "warc")
    added = await run(*add, "--parts", "3", "--languages", "en, de", "--no-safety")
    assert "6 jobs" in added
    assert "accepted 0/6" in await run("crawl", "list")
    assert "paused" in await run("crawl", "pause", "A")
    await asyncio.sleep(0.3)
    assert "A  paused" in await run("crawl", "list")
    await run("crawl", "resume", "A")
    worker = await tracker.worker("ann")
    lease = (await worker.lease(LeaseRequest(worker="pc", version="1"))).lease
    assert lease.source in {str(base / "warc" / name) for name in ("a.warc.gz", "b.warc.gz")}
    assert (lease.recipe.languages, lease.recipe.safety) == (("en", "de"), False)
    assert lease.parts == 3


async def test_every_field_of_the_recipe_is_an_option():
    output = CliRunner().invoke(main, ["crawl", "add", "--help"]).output
    for name in set(Recipe.model_fields) - OWN:
        assert f"--{name.replace('_', '-')}" in output


async def test_model_files_are_sent_with_the_crawl(run, tracker, archive):
    base, paths = archive
    config, weights = base / "config.json", base / "model.safetensors"
    config.write_text("{}")
    weights.write_bytes(b"weights")
    add = ("crawl", "add", "A", "--paths", str(paths), "--base", str(base), "--kind", "wat")
    await run(*add, "--model-config", str(config), status=2)
    await run(*add, "--model-config", str(config), "--model-weights", str(weights))
    worker = await tracker.worker("ann")
    lease = (await worker.lease(LeaseRequest(worker="pc", version="1"))).lease
    with (base / "copy").open("w+b") as copy:
        await worker.fetch_file(lease.recipe.model.weights_sha256, copy)
    assert (base / "copy").read_bytes() == b"weights"


@pytest.mark.parametrize(
    ("change", "reason", "status"),
    [
        ({"--paths": "missing.txt"}, "missing.txt cannot be read", os.EX_NOINPUT),
        ({"--base": "elsewhere"}, "is not a file under", os.EX_NOINPUT),
        ({"--min-side": "0"}, "min_side", os.EX_USAGE),
        ({"--parts": "0"}, "parts", os.EX_USAGE),
        ({"--kind": "arc"}, "arc", 2),
    ],
)
async def test_a_wrong_crawl_is_refused_in_one_sentence(run, archive, change, reason, status):
    base, paths = archive
    options = {"--paths": str(paths), "--base": str(base), "--kind": "warc"} | change
    output = await run("crawl", "add", "A", *sum(options.items(), ()), status=status)
    assert reason in output


async def test_a_list_that_unpacks_to_too_much_is_refused(run, archive, monkeypatch):
    base, paths = archive
    monkeypatch.setattr("tracker.crawls._MAX_LIST", 1000)
    paths.write_bytes(gzip.compress(b"warc/a.warc.gz\n" * 1000))
    add = ("crawl", "add", "A", "--paths", str(paths), "--base", str(base), "--kind", "warc")
    assert "over 1000 bytes" in await run(*add, status=os.EX_NOINPUT)


async def test_accounts_are_made_and_their_token_is_printed_once(run, tracker):
    token = (await run("account", "add", "ann", "--discord-id", "42")).strip()
    assert token.startswith("lw_")
    client = await tracker.client(token)
    assert (await client.lease(LeaseRequest(worker="pc", version="1"))).idle
    assert "already" in await run("account", "add", "ann", status=os.EX_DATAERR)
    await run("account", "add", "a b", status=os.EX_USAGE)
    listed = await run("account", "list")
    assert "ann  volunteer" in listed
    assert token.split("_")[2] not in listed
    assert (await run("account", "token", "ann")).strip() != token
    await run("account", "revoke", "ann")
    assert "revoked" in await run("account", "list")
    assert "account_revoke ann  ok" in await run("audit")


async def test_jobs_are_looked_after(run, tracker):
    await tracker.add_crawl("A")
    worker = await tracker.worker("ann")
    job = (await worker.lease(LeaseRequest(worker="pc", version="1"))).lease.job
    assert f"{job}  silent" in await run("jobs", "stale", "--silent-for", "0")
    dry = await run("jobs", "requeue", job, "--reason", "silent", "--dry-run")
    assert f"{job}  would be requeued" in dry
    assert f"{job}  requeued" in await run("jobs", "requeue", job, "--reason", "silent")
    assert "0/3" in await run("stats")
    assert json.loads(await run("stats", "--json"))["crawls"][0]["name"] == "A"
    await run("crawl", "pause", "nope", status=os.EX_DATAERR)


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
