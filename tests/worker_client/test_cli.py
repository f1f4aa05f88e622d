"""The command line, as a program."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from laion_protocol import ModelSpec, Recipe, Stage
from worker_client import __version__, process
from worker_client.cli import cli
from worker_client.pipeline.chain import ChainOptions
from worker_client.pipeline.source import Chunk
from worker_client.recipe_options import FIELDS
from worker_client.settings import WorkerSettings


def program(*args: object, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "worker_client", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        **options,
    )


def test_version_and_help_come_without_loading_the_pipeline() -> None:
    code = (
        "import sys\n"
        "from worker_client.cli import main\n"
        "sys.argv = ['laion-worker', 'process', '--help']\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'open_clip', 'pyarrow', 'PIL', 'pycurl', 'aiohttp', 'numpy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "--min-similarity" in ran.stdout
    assert program("--version").stdout == f"laion-worker, version {__version__}\n"


def test_the_whole_pipeline_loads_without_torch() -> None:
    code = "import sys, worker_client.worker; assert 'torch' not in sys.modules"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def invoke(*args: str) -> Result:
    return CliRunner().invoke(cli, args)


def test_every_command_and_option_has_help() -> None:
    for command in cli.commands.values():
        assert command.help
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert getattr(parameter, "help", None), parameter.name
        assert invoke(command.name or "", "--help").exit_code == 0


def test_each_field_of_the_recipe_has_an_option() -> None:
    names = {parameter.name for parameter in cli.commands["process"].params}
    assert set(FIELDS) == set(Recipe.model_fields) - {"kind", "model"}
    assert set(FIELDS) <= names


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """What `process` was called with; it ends there."""
    calls: list[tuple] = []

    def record(*args: object) -> None:
        calls.append(args)
        raise SystemExit(0)

    monkeypatch.setattr(process, "process", record)
    return calls


def test_options_become_the_recipe(taken: list[tuple]) -> None:
    result = invoke(
        "process", "x.wat.gz", "--out", "o", "--min-similarity", "0.3", "--languages", "en, de",
        "--no-safety", "--embeddings", "--min-side", "10", "--no-honour-opt-out", "--part", "2",
        "--parts", "3", "--architecture", "ViT-B-16", "--pretrained", "datacomp_xl_s13b_b90k",
        "--connect-to", "[::1]:8080", "--allow-private", "127.0.0.1:1",
        "--allow-private", "127.0.0.1:2", "--contact", "me@example.org", "--keep-all",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    chunk, recipe, files, out, options, _ = taken[0]
    assert chunk == Chunk("x.wat.gz", 1, 3)
    assert recipe == Recipe(
        kind="wat",
        model=ModelSpec(architecture="ViT-B-16", pretrained="datacomp_xl_s13b_b90k"),
        min_similarity=0.3,
        languages=("en", "de"),
        safety=False,
        embeddings=True,
        min_side=10,
        honour_opt_out=False,
    )
    assert (files, out) == (None, Path("o"))
    assert isinstance(options, ChainOptions)
    assert options.user_agent == f"laion-worker/{__version__} (+me@example.org)"
    assert options.connect_to == ("::1", 8080)
    assert options.allow_private == {("127.0.0.1", 1), ("127.0.0.1", 2), ("::1", 8080)}
    assert options.keep_all


def test_a_stand_in_named_by_a_name_is_its_address(
    taken: list[tuple], monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(host: str, port: int, **_: object) -> list:
        assert host == "web.test"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.1.2.3", port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    result = invoke("process", "x.warc", "--out", "o", "--connect-to", "web.test:8080")
    assert result.exit_code == 0, result.output
    options = taken[0][4]
    assert options.connect_to == ("10.1.2.3", 8080)
    assert options.allow_private == {("10.1.2.3", 8080)}
    assert options.source_guard is None  # the volunteer's own file or URL


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[WorkerSettings]:
    """The settings of the workers that `run` would have begun."""
    from worker_client import worker

    settings_of: list[WorkerSettings] = []

    async def record(settings: WorkerSettings, report: object) -> None:
        settings_of.append(settings)

    monkeypatch.setattr(worker, "work", record)
    monkeypatch.setenv("LAION_WORKER_TOKEN", "lw_" + "a" * 12 + "_" + "b" * 64)
    return settings_of


def test_local_sources_come_from_the_command_line_or_the_configuration(
    tmp_path: Path, begun: list[WorkerSettings]
) -> None:
    config = tmp_path / "c.toml"
    config.write_text("")
    args = ("run", "--tracker", "http://x", "--config", str(config))
    invoke(*args)
    config.write_text('local_sources = "/data"')
    invoke(*args)
    invoke(*args, "--local-sources", "/other")
    assert [s.local_sources for s in begun] == [None, Path("/data"), Path("/other")]


def test_stages_come_from_the_command_line_the_configuration_or_the_machine(
    tmp_path: Path, begun: list[WorkerSettings]
) -> None:
    config = tmp_path / "c.toml"
    config.write_text("")
    args = ("run", "--tracker", "http://x", "--config", str(config))
    invoke(*args)
    config.write_text('stages = "score, hybrid"')
    invoke(*args)
    invoke(*args, "--stages", "fetch")
    invoke(*args, "--stages", "auto")
    assert [s.stages for s in begun] == [
        None, (Stage.SCORE, Stage.HYBRID), (Stage.FETCH,), None,
    ]  # fmt: skip
    config.write_text('stages = "paint"')
    assert "is neither `auto` nor some of fetch, score, hybrid" in str(invoke(*args).exception)


def test_a_small_machine_fetches_a_cpu_does_whole_jobs_and_a_gpu_scores_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    from worker_client import stages
    from worker_client.pipeline import score_model

    monkeypatch.setattr(score_model, "best_device", lambda: torch.device("cpu"))
    assert stages.stages_here() == (Stage.HYBRID,)
    monkeypatch.setattr(score_model, "best_device", lambda: torch.device("cuda"))
    assert stages.stages_here() == (Stage.HYBRID, Stage.SCORE)
    monkeypatch.setattr(stages, "_memory", lambda: 2 * 2**30)
    assert stages.stages_here() == (Stage.FETCH,)


def test_without_options_the_recipe_is_the_default_one(taken: list[tuple]) -> None:
    assert invoke("process", "x.warc.gz", "--out", "o").exit_code == 0
    assert taken[0][1] == Recipe(kind="warc")


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["process", "x"], "Missing option '--out'"),
        (["process", "--out", "o"], "Missing argument 'FILE_OR_URL'"),
        (["process", "x", "--out", "o", "--min-similarity", "2"], "--min-similarity"),
        (["process", "x", "--out", "o", "--min-side", "0"], "--min-side"),
        (["process", "x", "--out", "o", "--min-side", "many"], "not a valid integer"),
        (["process", "x", "--out", "o", "--formats", "jpeg,psd"], "'psd' is none of"),
        (["process", "x", "--out", "o", "--part", "2"], "--part"),
        (["process", "x", "--out", "o", "--colour", "red"], "No such option"),
        (["process", "x", "--out", "o", "--model-config", "c"], "go together"),
        (["process", "x", "--out", "o", "--pretrained", "c"], "go together"),
        (["process", "x", "--out", "o", "--connect-to", "nowhere"], "is not HOST:PORT"),
        (["process", "x", "--out", "o", "--connect-to", "a:99999"], "is not HOST:PORT"),
        (
            ["process", "x", "--out", "o", "--connect-to", "nowhere.invalid:80"],
            "'nowhere.invalid' does not resolve to an address",
        ),
        (
            ["process", "x", "--out", "o", "--allow-private", "router.example:80"],
            "'router.example:80' is not ADDRESS:PORT with a numeric address",
        ),
        (["process", "x", "--out", "o", "--allow-private", "127.0.0.1:0"], "is not ADDRESS:PORT"),
        (["process", "x", "--out", "o", "--contact", " "], "--contact"),
        (
            ["process", "x", "--out", "o", "--model-config", "/no", "--model-weights", "/no"],
            "--model-config: /no cannot be read: No such file",
        ),
        (["run"], "--tracker is missing"),
        (["run", "--tracker", "ftp://x"], "is not a tracker's URL"),
        (["run", "--tracker", "http://x", "--worker", "a b"], "--worker"),
        (["run", "--tracker", "http://x", "--jobs", "0"], "--jobs"),
        (["run", "--tracker", "http://x", "--stages", "fetch,paint"], "is neither `auto` nor some"),
        (["fly"], "No such command 'fly'"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_code_64(
    args: list[str],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from worker_client.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("LAION_WORKER_TOKEN", "lw_" + "a" * 12 + "_" + "b" * 64)
    monkeypatch.setattr(sys, "argv", ["laion-worker", *args])
    with pytest.raises(SystemExit) as end:
        main()
    told = capsys.readouterr().err
    assert end.value.code == 64, told
    assert complaint in told
    assert "Traceback" not in told


def test_the_summary_is_plain_lines_or_json(tmp_path: Path) -> None:
    from tests.worker_client.archives import page, record, write

    location = write(tmp_path, [page("<img src=/a.png alt=x>"), record(b"odd", type="warcinfo")])
    out = tmp_path / "out"
    args = ("process", location, "--out", out, "--connect-to", "127.0.0.1:9")
    plain = program(*args, "--allow-private", "127.0.0.1:9")
    assert plain.returncode == 0, plain.stderr
    assert (
        "records read: 2\npages: 1\npairs: 1\nkept: 0\ndropped, text_too_short: 1\n" in plain.stdout
    )
    told = program(*args, "--json", "--min-text-chars", "1", "--allow-private", "127.0.0.1:9")
    summary = json.loads(told.stdout)
    assert summary["counts"]["drops"] == {"connect": 1}
    assert summary == {
        "directory": str(out),
        **json.loads((out / "manifest.json").read_text()),
    }
