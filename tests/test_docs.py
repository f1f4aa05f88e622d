"""What README and docs/ say exists: commands, options, routes, make targets, files."""

import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest

from bot.settings import ENV_PREFIX
from bot.settings import Settings as BotSettings
from tracker.app import create_app
from tracker.cli import main as tracker_cli
from tracker.routes.metrics import COUNTERS
from tracker.settings import Settings
from worker_client.cli import cli as worker_cli

ROOT = Path(__file__).resolve().parents[1]
OPERATING = ROOT / "docs/operating.md"
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CLIS = {"laion-worker": worker_cli, ".venv/bin/python -m tracker": tracker_cli}


def text(path):
    return path.read_text(encoding="utf-8").replace("\\\n", " ")


def commands(program):
    """Every line of a document that calls this program, as (document, words after it)."""
    for path in DOCS:
        for line in text(path).splitlines():
            found = re.search(rf"(?:^|[`\s]){re.escape(program)} ([^`]*)", line)
            if found:
                yield path.name, shlex.split(found[1].split("  #")[0])


def documented(program):
    return [
        pytest.param(program, words, id=f"{name}: {' '.join(words)[:50]}")
        for name, words in commands(program)
    ]


@pytest.mark.parametrize(
    ("program", "words"),
    [case for program in (*CLIS, "python -m tracker") for case in documented(program)],
)
def test_each_documented_command_and_option_exists(program, words):
    command = CLIS.get(program, tracker_cli)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"no command {words[0]!r}"
        command = command.commands[words.pop(0)]
    known = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    assert {word.split("=")[0] for word in words if word.startswith("--")} <= known | {
        "--help",
        "--version",
    }


def test_each_command_of_a_volunteer_is_in_the_readme():
    assert {words[0] for _, words in commands("laion-worker")} >= set(worker_cli.commands)


def test_each_command_of_a_tracker_is_in_the_operators_page():
    page = text(OPERATING)

    missing = [name for name in tracker_cli.commands if f"python -m tracker {name}" not in page]
    assert missing == []


def test_each_option_of_serve_is_in_the_operators_page():
    options = {name for param in tracker_cli.commands["serve"].params for name in param.opts}

    assert options <= set(re.findall(r"--[a-z0-9-]+", text(OPERATING)))


def test_each_metric_is_in_the_operators_page_and_no_other():
    source = (ROOT / "tracker/routes/metrics.py").read_text(encoding="utf-8")
    told = set(re.findall(r'"(laion_[a-z_]+)"', source)) | {
        f"laion_{name}_total" for name in COUNTERS
    }

    assert set(re.findall(r"`(laion_[a-z_]+)`", text(OPERATING))) == told


@pytest.fixture(scope="module")
def routes(tmp_path_factory):
    settings = Settings(data=tmp_path_factory.mktemp("data"), redis_url="unix:///nowhere")
    return create_app(settings).openapi()["paths"]


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_each_documented_route_exists(path, routes):
    shapes = {re.sub(r"\{\w+\}", "{}", route) for route in routes}
    parts = {"/v1", "/v1/admin", "/device", "/openapi.json"}  # for people; for programs
    named = r"(?<![\w.])/(?:v1/[\w/{}-]*|healthz\b|readyz\b|metrics\b|device\b|openapi\.json)"
    for route in re.findall(named, text(path)):
        assert re.sub(r"\{\w+\}", "{}", route.rstrip("/")) in shapes | parts, route


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_each_link_and_named_file_is_there(path):
    page = text(path)
    links = [link for link in re.findall(r"\]\(([^)#]+)", page) if "://" not in link]
    named = re.findall(
        r"`((?:docs|demo|bot|tests|tracker|worker_client|laion_protocol|benchmarks)/[\w./]*)`", page
    )
    for target in links:
        assert (path.parent / target).exists(), target
    for target in named:
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_each_heading_that_is_linked_to_is_there(path):
    for target, anchor in re.findall(r"\]\(([\w./]*)#([\w-]+)\)", text(path)):
        headings = re.findall(r"^#+ (.+)$", text(path.parent / target if target else path), re.M)
        slugs = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
        assert anchor in slugs, f"{target}#{anchor}"


def test_each_make_target_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.M))
    for path in DOCS:
        assert set(re.findall(r"(?:`|^)make ([a-z]+)", text(path), re.M)) <= targets


def test_each_setting_of_the_bot_is_documented_and_no_other():
    documented = set(re.findall(r"`(LAION_BOT_[A-Z_]+[A-Z])`", text(ROOT / "docs/discord.md")))

    assert documented == {ENV_PREFIX + name.upper() for name in BotSettings.model_fields}


def test_nothing_that_git_tracks_names_a_registry_or_a_machines_path():
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    wanted = re.compile(
        rb"pypi\.(?:org|io)|pythonhosted|npmjs\.(?:org|com)|deb\.debian|/work/(?:main|shared)"
    )
    this = Path(__file__).relative_to(ROOT).as_posix()
    for name in files.stdout.decode().split("\0"):
        if name and name != this and (ROOT / name).is_file():
            assert not wanted.search((ROOT / name).read_bytes()), name
