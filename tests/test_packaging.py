"""What a volunteer installs: the worker and the protocol, all of them, and nothing else."""

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", str(directory)]
    if importlib.util.find_spec("hatchling") is not None:
        command.append("--no-build-isolation")
    # else pip fetches hatchling into an environment of its own
    built = subprocess.run(
        [*command, str(ROOT)], capture_output=True, text=True, timeout=100, check=False
    )
    if built.returncode and "hatchling" in built.stderr and "ERROR" in built.stderr:
        pytest.skip("building the wheel needs hatchling: install it, or a network to fetch it from")
    assert built.returncode == 0, built.stderr
    (path,) = directory.glob("*.whl")
    return path


def test_the_wheel_holds_the_worker_and_the_protocol_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "laion_protocol",
        "worker_client",
    }
    modules = {
        path.relative_to(ROOT).as_posix()
        for package in ("laion_protocol", "worker_client")
        for path in (ROOT / package).rglob("*.py")
    }
    assert modules <= set(names)


def test_the_wheel_brings_the_command_and_no_server_or_bot(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (info,) = {name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name}
        metadata = archive.read(f"{info}/METADATA").decode()
        assert (
            "laion-worker = worker_client.cli:main"
            in archive.read(f"{info}/entry_points.txt").decode()
        )
    required = [line.split()[1] for line in metadata.splitlines() if line.startswith("Requires-")]
    for foreign in ("fastapi", "redis", "uvicorn", "discord"):
        assert not any(name.startswith(foreign) for name in required)


def test_the_installed_worker_runs_without_the_repository(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target)]
    subprocess.run([*install, str(wheel)], check=True, timeout=100, capture_output=True)
    code = (
        "import worker_client.worker, worker_client.process\n"
        f"assert worker_client.__file__.startswith({str(target)!r})\n"
    )
    ran = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={**os.environ, "PYTHONPATH": str(target)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
