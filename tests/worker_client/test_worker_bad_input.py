"""Whatever a volunteer gives the program, it ends with a sentence and a meaningful exit code."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from laion_protocol import Manifest
from tests.worker_client.archives import real_archives
from tests.worker_client.little_web import HeldServer, write_archive
from tests.worker_client.tiny_clip import make_tiny_clip
from worker_client.cli import main
from worker_client.exit_codes import ExitCode

#: Nothing listens there, and nothing else is reached.
NOWHERE = ("--connect-to", "127.0.0.1:9", "--allow-private", "127.0.0.1:9")
TOKEN = "lw_" + "a" * 12 + "_" + "b" * 64


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    _, files = make_tiny_clip(tmp_path_factory.mktemp("tiny"))
    return ("--model-config", str(files.config), "--model-weights", str(files.weights))


class Ran:
    """What a run of the program came to."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def sentence(self) -> str:
        return self.err.strip().splitlines()[-1] if self.err.strip() else ""


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """Runs the program in this process."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("LAION_WORKER_TOKEN", raising=False)

    def run(*args: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["laion-worker", *map(str, args)])
        with pytest.raises(SystemExit) as end:
            main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Ran(int(end.value.code or 0), captured.out, captured.err)

    return run


@pytest.mark.parametrize("archive", real_archives())
def test_every_real_archive_ends_with_a_shard_or_a_sentence(
    program, model: tuple[str, ...], archive: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    started = time.monotonic()
    ran = program("process", archive, "--out", out, "--min-text-chars", "1", *NOWHERE, *model)
    assert time.monotonic() - started < 60
    if ran.code == 0:
        manifest = Manifest.model_validate_json((out / "manifest.json").read_bytes())
        assert f"pairs: {manifest.counts.pairs}\n" in ran.out
        assert manifest.counts.kept == 0  # nobody answers
    else:
        assert ran.code == ExitCode.BAD_DATA
        assert archive.name in ran.sentence
        assert not out.exists() or list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "code", "words"),
    [
        ("gone.warc.gz", None, ExitCode.NO_INPUT, "No such file"),
        ("text.warc.gz", b"once upon a time\n" * 99, ExitCode.BAD_DATA, "no web archive"),
        ("empty.warc.gz", b"", ExitCode.BAD_DATA, "empty"),
        ("picture.warc", b"\x89PNG\r\n\x1a\n" + bytes(5000), ExitCode.BAD_DATA, "no web archive"),
    ],
)
def test_a_file_that_is_no_archive_is_told(
    program, tmp_path: Path, name: str, content: bytes | None, code: ExitCode, words: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    ran = program("process", tmp_path / name, "--out", tmp_path / "out", *NOWHERE)
    assert (ran.code, name in ran.sentence, words in ran.sentence) == (code, True, True), ran.err
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_a_directory_and_a_wrong_url_are_told(program, tmp_path: Path) -> None:
    ran = program("process", tmp_path, "--out", tmp_path / "out")
    assert (ran.code, "Is a directory" in ran.sentence) == (ExitCode.NO_INPUT, True)
    for url in ("http://", "http://[::1/x", "https:///a.warc.gz"):
        ran = program("process", url, "--out", tmp_path / "out")
        assert (ran.code, url in ran.sentence) == (ExitCode.USAGE, True)


def test_a_model_that_cannot_be_used_is_told(
    program, model: tuple[str, ...], tmp_path: Path
) -> None:
    archive = write_archive(tmp_path / "a.warc.gz")
    (tmp_path / "bad.safetensors").write_bytes(b"\0" * 100)
    with HeldServer(archive) as server:
        server.go.set()
        address = "{}:{}".format(*server.endpoint)
        ran = program(
            "process", archive, "--out", tmp_path / "out", "--connect-to", address,
            "--allow-private", address, "--decoders", "1",
            "--model-config", model[1], "--model-weights", tmp_path / "bad.safetensors",
        )  # fmt: skip
    assert (ran.code, "does not fit the model" in ran.sentence) == (ExitCode.BAD_DATA, True)
    assert list((tmp_path / "out").iterdir()) == []


def test_an_output_that_cannot_be_written_is_told(program, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "a.warc.gz")
    ran = program("process", archive, "--out", archive / "below", *NOWHERE)
    assert (ran.code, "choose another directory" in ran.sentence) == (ExitCode.CANNOT_CREATE, True)


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "full"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)]
    if os.name != "posix" or not shutil.which("mount") or os.geteuid() != 0:
        pytest.skip("a full disk needs root, to mount a tiny tmpfs")
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a full disk needs a machine where a tiny tmpfs can be mounted")
    try:
        (mount / "ballast").write_bytes(bytes(60 * 1024))
        yield mount
    finally:
        # lazily: the error's traceback, which pytest keeps, holds what was mapped
        subprocess.run(["umount", "-l", str(mount)], check=True)


def test_a_full_disk_is_told_and_nothing_half_is_left(
    program, full_disk: Path, tmp_path: Path
) -> None:
    archive = write_archive(tmp_path / "a.warc.gz")
    ran = program("process", archive, "--out", full_disk / "out", *NOWHERE)
    assert (ran.code, "is full; free some space" in ran.sentence) == (ExitCode.DISK_FULL, True)
    out = full_disk / "out"
    assert not out.exists() or list(out.iterdir()) == []


def test_run_tells_what_is_wrong_with_its_token(program, tmp_path: Path) -> None:
    base = ("run", "--tracker", "http://127.0.0.1:9")
    assert program(*base).code == ExitCode.NO_PERMISSION
    ran = program(*base, "--token-file", tmp_path / "gone")
    assert (ran.code, "gone" in ran.sentence) == (ExitCode.NO_PERMISSION, True)
    (tmp_path / "token").write_text("not a token")
    ran = program(*base, "--token-file", tmp_path / "token")
    assert ran.code == ExitCode.NO_PERMISSION
    assert "is not a token" in ran.sentence


def test_run_tells_of_an_open_token_file_a_tracker_that_is_away_and_a_bad_config(
    program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker_client.worker._PATIENCE", 0.0)
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o644)
    ran = program("run", "--tracker", "http://127.0.0.1:9", "--token-file", token)
    assert ran.code == ExitCode.UNAVAILABLE
    assert "cannot be reached" in ran.sentence
    assert "chmod 600" in ran.err
    assert TOKEN not in ran.err
    config = tmp_path / "config" / "laion-worker" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text("tracker = [")
    ran = program("run", "--token-file", token)
    assert (ran.code, str(config) in ran.sentence) == (ExitCode.CONFIG, True)


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_ctrl_c_stops_process_and_leaves_nothing(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "a.warc.gz")
    with HeldServer(archive) as server:
        address = "{}:{}".format(*server.endpoint)
        command = [
            sys.executable, "-m", "worker_client", "process", str(archive), "--out",
            str(tmp_path / "out"), "--connect-to", address, "--allow-private", address,
        ]  # fmt: skip
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as ran:
            assert server.asked.wait(60)
            ran.send_signal(signal.SIGINT)
            _, told = ran.communicate(timeout=60)
    assert ran.returncode == ExitCode.INTERRUPTED
    assert "Traceback" not in told
    assert list((tmp_path / "out").iterdir()) == []
