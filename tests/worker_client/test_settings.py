import os
from pathlib import Path

import pytest

from laion_protocol.messages import LeaseRequest
from worker_client import settings
from worker_client.errors import BadConfig, TokenTrouble
from worker_client.settings import (
    config_path,
    default_worker_name,
    open_to_others,
    read_config,
    read_token,
    state_path,
)

TOKEN = "lw_" + "a" * 12 + "_" + "b" * 64
OTHER = "lw_" + "c" * 12 + "_" + "d" * 64


def test_the_token_file_goes_before_the_environment_and_that_before_the_config(
    tmp_path: Path,
) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    environment = {"LAION_WORKER_TOKEN": OTHER}
    assert read_token(file, {"token": OTHER}, environment) == TOKEN
    assert read_token(None, {"token": TOKEN}, environment) == OTHER
    assert read_token(None, {"token": TOKEN}, {}) == TOKEN
    assert read_token(None, {"token_file": str(file)}, {}) == TOKEN


@pytest.mark.parametrize(
    "content", ["", "hunter2", TOKEN + " " + OTHER, f"Bearer {TOKEN}", "lw_a_b", "\x00" * 9]
)
def test_what_is_no_token_is_told_without_repeating_it(tmp_path: Path, content: str) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    with pytest.raises(TokenTrouble, match="is not a token") as told:
        read_token(file, {}, {})
    assert not content or content not in str(told.value)


def test_a_missing_token_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TokenTrouble, match="there is no token; put it into a file"):
        read_token(None, {}, {})
    with pytest.raises(TokenTrouble, match="No such file or directory; check --token-file"):
        read_token(tmp_path / "nowhere", {}, {})
    with pytest.raises(TokenTrouble, match="Is a directory"):
        read_token(tmp_path, {}, {})


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
def test_a_token_that_others_can_read_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    assert not open_to_others(file)
    file.chmod(0o640)
    assert open_to_others(file)
    assert not open_to_others(tmp_path / "nowhere")


def test_the_config_file_is_read_and_need_not_exist(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    assert read_config(file) == {}
    file.write_text('tracker = "https://t.example"\nworker = "box"\n')
    assert read_config(file) == {"tracker": "https://t.example", "worker": "box"}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"tracker = ", "is not TOML"),
        (b"\xff\xfe", "is not TOML"),
        (b"colour = 'red'", "'colour' is none of contact, local_sources, stages, state_dir, token"),
        (b"worker = 3", "'worker' is none of"),
    ],
)
def test_nonsense_in_the_config_file_is_told(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(content)
    with pytest.raises(BadConfig, match=complaint):
        read_config(file)
    with pytest.raises(BadConfig, match="cannot be read"):
        read_config(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="XDG is for Unix")
def test_files_lie_where_the_desktop_says() -> None:
    assert config_path({"XDG_CONFIG_HOME": "/c"}) == Path("/c/laion-worker/config.toml")
    assert state_path({"XDG_STATE_HOME": "/s"}) == Path("/s/laion-worker")
    assert state_path({}) == Path.home() / ".local/state/laion-worker"


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("box.home.example", "box"),
        ("-Zoë's PC", "Zo-s-PC"),
        ("", "worker"),
        ("機械", "worker"),
        ("x" * 300, "x" * 64),
    ],
)
def test_any_host_name_becomes_a_workers_name(
    monkeypatch: pytest.MonkeyPatch, host: str, name: str
) -> None:
    monkeypatch.setattr(settings.socket, "gethostname", lambda: host)
    assert default_worker_name() == name
    LeaseRequest(worker=name, version="0")
