"""`docs/decisions/known-faults.md` leaves out no fault, and the tests that it names exist."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROWS = {
    int(cells[0]): cells
    for line in (ROOT / "docs/decisions/known-faults.md").read_text(encoding="utf-8").splitlines()
    if (cells := [cell.strip() for cell in line.strip("| ").split(" | ")])[0].isdigit()
}
#: what a secret looks like: our tokens, Amazon's and GitHub's keys, Discord's tokens, private keys
SECRET = re.compile(
    rb"\blw_[0-9a-f]{12}_[0-9a-f]{64}|\bAKIA[0-9A-Z]{16}\b|\bgh[opsu]_\w{36}"
    rb"|\b[MNO][\w-]{23,27}\.[\w-]{6}\.[\w-]{27,}|-----BEGIN [A-Z ]*PRIVATE KEY"
)


@cache
def names_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_each_fault_has_its_row():
    assert list(ROWS) == [*range(1, 27), *range(52, 64)]
    for cells in ROWS.values():
        assert len(cells) == 4
        assert all(cells)


@pytest.mark.parametrize("number", ROWS)
def test_each_row_names_tests_that_exist(number):
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", ROWS[number][3])
    assert len(named) == ROWS[number][3].count("`") // 2 > 0
    for path, name in named:
        assert name in names_in(ROOT / path), f"{path}::{name}"


def test_nothing_that_git_tracks_looks_like_a_secret():
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in files.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            found = SECRET.search((ROOT / name).read_bytes())
            assert found is None, f"{name}, byte {found.start()}"


@pytest.mark.parametrize("package", ["tracker", "worker_client", "bot", "laion_protocol"])
@pytest.mark.parametrize(
    "call",
    ["time.sleep(1)", "urllib.request.urlopen('https://e')", "subprocess.run(['true'])"],
)
def test_the_linter_refuses_calls_that_block_the_event_loop(package, call):
    module = call.rpartition("(")[0].rpartition(".")[0]
    code = f"import {module}\n\n\nasync def held_up() -> None:\n    {call}\n"
    ruff = Path(sys.executable).with_name("ruff")
    args = [ruff, "check", "--no-cache", "--output-format=concise"]
    result = subprocess.run(
        [*args, "--stdin-filename", f"{package}/held_up.py", "-"],
        cwd=ROOT, input=code, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "ASYNC2" in result.stdout, result.stdout
