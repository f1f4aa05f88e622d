"""`crawl …`: one is added, steered and removed; a wrong one is refused before any worker tries."""

import asyncio
import gzip
import json
import os
import struct

import pytest
from click.testing import CliRunner

from laion_protocol import Recipe
from laion_protocol.messages import LeaseRequest
from laion_protocol.recipe import IMAGE_FORMATS
from tracker import model_check
from tracker.cli import main
from tracker.exit_status import USAGE
from tracker.model_check import NoModel, check_config, check_pretrained, check_weights
from worker_client.pipeline.confined.picture import FORMATS

OWN = {"kind", "model"}
ASK = LeaseRequest(worker="pc", version="1")
CONFIG = {"embed_dim": 8, "vision_cfg": {}, "text_cfg": {}}


def safetensors(*, end: int = 4, size: int = 4, metadata: bool = False) -> bytes:
    header = {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, end]}}
    if metadata:
        header = {"__metadata__": {"format": "pt"}}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"\0" * size


@pytest.fixture
def archive(tmp_path):
    """A directory with two files and a gzipped list of them."""
    (tmp_path / "warc").mkdir()
    for name in ("a.warc.gz", "b.warc.gz"):
        (tmp_path / "warc" / name).write_bytes(b"x")
    paths = tmp_path / "warc.paths.gz"
    paths.write_bytes(gzip.compress(b"warc/a.warc.gz\n\nwarc/b.warc.gz\n"))
    return tmp_path, paths


@pytest.fixture
def add(run, archive):
    base, paths = archive

    async def add(*more, kind="warc", status=0):
        options = ("--paths", str(paths), "--base", str(base), "--kind", kind)
        return await run("crawl", "add", "A", *options, *more, status=status)

    return add


async def test_a_crawl_is_added_listed_paused_and_resumed(run, add, tracker, archive):
    base, _ = archive
    assert "6 jobs" in await add("--parts", "3", "--languages", "en, de", "--no-safety")
    assert "0/6" in await run("crawl", "list")
    assert "paused" in await run("crawl", "pause", "A")
    await asyncio.sleep(0.3)
    assert "A      paused" in await run("crawl", "list")
    await run("crawl", "resume", "A")
    worker = await tracker.worker("ann")
    lease = (await worker.lease(ASK)).lease
    assert lease.source in {str(base / "warc" / name) for name in ("a.warc.gz", "b.warc.gz")}
    assert (lease.recipe.languages, lease.recipe.safety) == (("en", "de"), False)
    assert lease.parts == 3


async def test_a_crawl_is_drained_finished_and_removed(run, add, tracker):
    await add()
    worker = await tracker.worker("ann")
    await worker.lease(ASK)
    assert "A is draining" in await run("crawl", "drain", "A")
    assert "drain it first" in await run("crawl", "remove", "A", "--yes", status=os.EX_DATAERR)
    assert "Aborted" in await run("crawl", "finish", "A", typed="n\n", status=1)
    assert "A is finished" in await run("crawl", "finish", "A", "--yes")
    answer = json.loads(await run("crawl", "drain", "A", "--json"))
    assert answer["name"] == "A"
    await run("jobs", "reassign", "--all", "--reason", "x", "--yes")
    assert "removed" in await run("crawl", "remove", "A", typed="y\n")
    await asyncio.sleep(0.3)
    assert json.loads(await run("crawl", "list", "--json")) == []


async def test_how_often_a_job_is_tried_is_the_crawls_to_say(add, redis):
    await add("--max-attempts", "2", "--min-accounts", "1")
    assert await redis.hmget("crawl:{A}:meta", "max_attempts", "min_accounts") == ["2", "1"]


async def test_every_field_of_the_recipe_is_an_option():
    output = CliRunner().invoke(main, ["crawl", "add", "--help"]).output
    for name in set(Recipe.model_fields) - OWN:
        assert f"--{name.replace('_', '-')}" in output


async def test_model_files_are_sent_with_the_crawl(add, tracker, archive):
    base, _ = archive
    config, weights = base / "config.json", base / "model.safetensors"
    config.write_text(json.dumps(CONFIG))
    weights.write_bytes(safetensors())
    await add("--model-config", str(config), status=USAGE)
    await add("--model-config", str(config), "--model-weights", str(weights), kind="wat")
    worker = await tracker.worker("ann")
    lease = (await worker.lease(ASK)).lease
    with (base / "copy").open("w+b") as copy:
        await worker.fetch_file(lease.recipe.model.weights_sha256, copy)
    assert (base / "copy").read_bytes() == safetensors()


async def test_files_that_are_no_model_are_refused(add, archive):
    base, _ = archive
    config, weights = base / "config.json", base / "model.safetensors"
    config.write_text(json.dumps(CONFIG))
    weights.write_bytes(b"PK\x03\x04 a zip")
    files = ("--model-config", str(config), "--model-weights", str(weights))
    assert "is no safetensors file" in await add(*files, status=os.EX_DATAERR)
    config.write_text("no")
    assert "is no JSON" in await add(*files, status=os.EX_DATAERR)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "is no safetensors"),
        (b"\xff" * 8 + b"x" * 100, "is no safetensors"),
        (struct.pack("<Q", 2) + b"[]", "is no safetensors"),
        (struct.pack("<Q", 2) + b"{}", "holds no tensor"),
        (struct.pack("<Q", 7) + b'{"w":1}', "is no safetensors"),
        (safetensors(metadata=True), "holds no tensor"),
        (safetensors(end=8, size=4), "is cut off"),
        (safetensors(end=4, size=8), "or too long"),
    ],
)
def test_weights_are_looked_at_without_torch(tmp_path, body, reason):
    path = tmp_path / "weights"
    path.write_bytes(body)
    with pytest.raises(NoModel, match=reason):
        check_weights(path)


@pytest.mark.parametrize("config", [[], {}, {"embed_dim": 1}, {"model_cfg": []}])
def test_a_config_without_its_parts_is_none(tmp_path, config):
    path = tmp_path / "config"
    path.write_text(json.dumps(config))
    with pytest.raises(NoModel, match="no model config"):
        check_config(path)


def test_the_demos_model_and_that_of_the_production_are_models():
    check_config(model_check.Path("demo/clip/config.json"))
    check_weights(model_check.Path("demo/clip/model.safetensors"))
    assert check_pretrained("ViT-B-32", "laion2b-S34B_b79k")
    assert check_pretrained("ViT-B-32-quickgelu", "openai")


async def test_weights_that_open_clip_does_not_know_are_refused(add):
    unknown = await add("--pretrained", "laion3b", status=os.EX_DATAERR)
    assert "no weights 'laion3b' of ViT-B-32; it has openai" in unknown
    nothing = await add("--architecture", "ViT-Z", "--pretrained", "openai", status=os.EX_DATAERR)
    assert "'ViT-Z'" in nothing


async def test_where_open_clip_is_not_installed_it_says_that_it_cannot_tell(add, monkeypatch):
    monkeypatch.setattr(model_check, "find_spec", lambda _: None)
    assert "not checked" in await add("--pretrained", "laion3b")


@pytest.mark.parametrize(
    ("change", "reason", "status"),
    [
        ({"--paths": "missing.txt"}, "missing.txt cannot be read", os.EX_NOINPUT),
        ({"--base": "elsewhere"}, "is not a file under", os.EX_NOINPUT),
        ({"--min-side": "0"}, "min_side: must be at least 1", USAGE),
        ({"--parts": "0"}, "parts: must be at least 1", USAGE),
        ({"--max-attempts": "21"}, "max_attempts: must be at most 20", USAGE),
        ({"--max-attempts": "2", "--min-accounts": "3"}, "min_accounts", os.EX_DATAERR),
        ({"--formats": "jpeg,heic"}, "no worker decodes the format 'heic'", USAGE),
        ({"--formats": ""}, "would keep nothing", USAGE),
        ({"--architecture": "RN50"}, "name either `pretrained`", USAGE),
        ({"--base": "ftp://e/"}, "an http or https URL with a host", USAGE),
        ({"--base": "https://"}, "an http or https URL with a host", USAGE),
        ({"--base": "https://a b/"}, "no blanks", USAGE),
        ({"--base": ""}, "must have at least 1 character", USAGE),
        ({"--paths": "ftp://e/list"}, "neither a file nor an http", os.EX_NOINPUT),
        ({"--paths": "http://["}, "is no URL", os.EX_NOINPUT),
        ({"--paths": "http://a b/"}, "is no URL", os.EX_NOINPUT),
        ({"--paths": "http://127.0.0.1:1/"}, "(Connection refused)", os.EX_NOINPUT),
        ({"--paths": "/"}, "/ cannot be read (Is a directory)", os.EX_NOINPUT),
        ({"--min-image-bytes": "99999999999"}, "must be at most", USAGE),
        ({"--min-text-chars": "3000"}, "min_text_chars over max_text_chars", USAGE),
        ({"--model-config": "/no"}, "'/no' cannot be read (No such file", os.EX_NOINPUT),
        ({"--kind": "arc"}, "arc", USAGE),
    ],
)
async def test_a_wrong_crawl_is_refused_in_one_sentence(run, archive, change, reason, status):
    base, paths = archive
    options = {"--paths": str(paths), "--base": str(base), "--kind": "warc"} | change
    output = await run("crawl", "add", "A", *sum(options.items(), ()), status=status)
    assert reason in output
    assert "Input should" not in output
    assert "Value error" not in output


async def test_a_list_that_unpacks_to_too_much_is_refused(add, archive, monkeypatch):
    _, paths = archive
    monkeypatch.setattr("tracker.crawls._MAX_LIST", 1000)
    paths.write_bytes(gzip.compress(b"warc/a.warc.gz\n" * 1000))
    assert "over 1000 bytes" in await add(status=os.EX_NOINPUT)


async def test_a_broken_gzip_file_is_no_list(add, archive):
    _, paths = archive
    whole = gzip.compress(b"warc/a.warc.gz\n" * 1000)
    for broken in (whole[:-9], whole[:12] + b"\xff" * 9 + whole[21:]):
        paths.write_bytes(broken)
        assert "is a broken gzip file" in await add(status=os.EX_NOINPUT)


def test_the_formats_that_a_recipe_may_name_are_those_that_workers_decode():
    assert set(IMAGE_FORMATS) == set(FORMATS)
