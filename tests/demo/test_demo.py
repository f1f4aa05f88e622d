"""The one-command demo: its parts, and a small run of the whole."""

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from demo.__main__ import main
from demo.children import Child, ChildFailed
from demo.report import result_table
from demo.result import CrawlResult, Result, read_crawl
from demo.truth import Truth
from demo.watcher import Watcher
from laion_protocol import Counts, CrawlState, DropReason, FileEntry, Manifest, Outcome
from laion_protocol.events import AttemptLost, ShardAccepted
from laion_protocol.manifest import SourceDigest
from laion_protocol.messages import CrawlStats, JobCounts
from laion_protocol.shard_format import SHARD_FILE

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime.now(UTC)
HASH = "0" * 64


# ── the whole ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.timeout(300)
async def test_a_small_demo_ends_by_itself_with_the_truth(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "demo", "--small", "--directory", str(tmp_path / "run"),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said = (await process.communicate())[0].decode()
    assert process.returncode == 0, said
    *_, last = said.strip().splitlines()
    assert last.startswith("DEMO ")
    figures = json.loads(last.removeprefix("DEMO "))
    assert figures["accepted"] == figures["jobs"] == 4
    assert [figures[name] for name in ("dead", "lost", "duplicated")] == [0, 0, 0]
    assert figures["reassigned"] >= 1
    assert figures["pairs_extracted"] == figures["pairs_expected"] > 200
    assert figures["precision"] >= 0.95
    assert figures["recall"] >= 0.90
    assert figures["forbidden_requests"] == 0
    assert "kill -9" in said
    assert _processes_below(tmp_path) == []


@pytest.mark.timeout(60)
async def test_ctrl_c_ends_every_part(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "demo", "--small", "--directory", str(tmp_path / "run"),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    await _until((tmp_path / "run" / "tracker" / "tracker.json").exists)
    assert _processes_below(tmp_path) != []
    process.send_signal(signal.SIGINT)
    said = (await process.communicate())[0].decode()
    assert process.returncode == 1
    assert "Traceback" not in said
    assert _processes_below(tmp_path) == []


async def _until(holds: Callable[[], bool]) -> None:
    for _ in range(400):
        if holds():
            return
        await asyncio.sleep(0.05)
    pytest.fail("waited for 20 s in vain")


def _processes_below(directory: Path) -> list[str]:
    """The command lines of running processes that name a directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if str(directory) in command and int(path.parent.name) != os.getpid():
            found.append(command)
    return found


def test_a_directory_that_no_demo_made_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    outcome = CliRunner().invoke(main, ["--directory", str(tmp_path)])
    assert outcome.exit_code == 1
    assert "is not empty" in outcome.output
    assert (tmp_path / "precious").exists()


# ── its verdict ──────────────────────────────────────────────────────────────────────────────────

TRUTH = (
    Truth("http://a/1.jpg", "a red circle"),
    Truth("http://a/2.jpg", "a blue star"),
    Truth("http://a/3.jpg", "not at all", DropReason.SIMILARITY),
)


def _stats(*, accepted: int = 2, dead: int = 0) -> CrawlStats:
    jobs = JobCounts(total=2, pending=0, leased=0, verifying=0, accepted=accepted, dead=dead)
    return CrawlStats(
        name="deep", state=CrawlState.ACTIVE, jobs=jobs, attempts=3, pairs=3, kept=2,
        drops={DropReason.SIMILARITY: 1}, bytes=1, accepted_last_hour=2, accepted_last_day=2,
        stale=0, eta_seconds=None,
    )  # fmt: skip


def _shard(shards: Path, job: int, rows: list[tuple[str, str]], dropped: int = 0) -> None:
    directory = shards / "deep" / f"{job:08d}" / os.urandom(16).hex()
    directory.mkdir(parents=True)
    urls, texts = [row[0] for row in rows], [row[1] for row in rows]
    pq.write_table(pa.table({"URL": urls, "TEXT": texts}), directory / SHARD_FILE)
    drops = {DropReason.SIMILARITY: dropped} if dropped else {}
    manifest = Manifest(
        recipe_sha256=HASH,
        worker_version="1",
        filter_version="1",
        model_sha256=HASH,
        source=SourceDigest(path="a", part=0, parts=1, first_byte=0, end_byte=1, pairs_sha256=HASH),
        counts=Counts(pairs=len(rows) + dropped, kept=len(rows), drops=drops),
        files=(FileEntry(name=SHARD_FILE, size=1, sha256=HASH),),
        seconds=1,
    )
    (directory / "manifest.json").write_text(manifest.model_dump_json())


def _result(crawl: CrawlResult, **changes: int) -> Result:
    result = Result(crawls=(crawl,), reassigned=1, forbidden_requests=0, seconds=1)
    return replace(result, **changes) if changes else result


RIGHT = [(TRUTH[0].url, TRUTH[0].text)], [(TRUTH[1].url, TRUTH[1].text)]


def test_a_run_where_everything_holds_has_no_faults(tmp_path: Path) -> None:
    _shard(tmp_path, 0, RIGHT[0], dropped=1)
    _shard(tmp_path, 1, RIGHT[1])
    result = _result(read_crawl(_stats(), TRUTH, tmp_path))
    assert result.faults() == []
    assert result.as_json()["kept"] == 2
    assert (result.precision, result.recall) == (1.0, 1.0)
    assert result.drops == result.expected_drops == Counter({DropReason.SIMILARITY: 1})
    assert result_table(result).row_count > 5


def test_each_thing_that_must_hold_is_named_when_it_does_not(tmp_path: Path) -> None:
    def faults(crawl: CrawlResult, **changes: int) -> str:
        (fault, *_) = _result(crawl, **changes).faults()
        return fault

    _shard(tmp_path, 0, RIGHT[0], dropped=1)
    assert "no shard" in " ".join(_result(read_crawl(_stats(), TRUTH, tmp_path)).faults())
    _shard(tmp_path, 1, RIGHT[1])
    good = read_crawl(_stats(), TRUTH, tmp_path)
    assert "not done by the other" in faults(good, reassigned=0)
    assert "where none may go" in faults(good, forbidden_requests=1)
    assert "1 of 2 jobs" in faults(read_crawl(_stats(accepted=1), TRUTH, tmp_path))
    assert "dead" in faults(read_crawl(_stats(dead=1), TRUTH, tmp_path))
    assert "pairs were extracted" in faults(read_crawl(_stats(), TRUTH[:2], tmp_path))
    wrong = (*TRUTH[:1], replace(TRUTH[1], text="another"), TRUTH[2])
    assert "precision" in faults(read_crawl(_stats(), wrong, tmp_path))
    _shard(tmp_path, 1, RIGHT[1])
    assert "twice" in faults(read_crawl(_stats(), TRUTH, tmp_path))


def test_a_matching_pair_that_was_not_kept_costs_recall(tmp_path: Path) -> None:
    _shard(tmp_path, 0, RIGHT[0], dropped=2)
    _shard(tmp_path, 1, [])
    result = _result(read_crawl(_stats(), TRUTH, tmp_path))
    assert (result.precision, result.recall) == (1.0, 0.5)
    assert any("recall" in fault for fault in result.faults())


def test_a_job_counts_as_reassigned_when_another_worker_did_it() -> None:
    def lost(job: str, outcome: Outcome = Outcome.EXPIRED) -> AttemptLost:
        return AttemptLost(
            crawl="deep", time=NOW, job=job, account="alice", worker="pc", attempt=1,
            outcome=outcome,
        )  # fmt: skip

    def accepted(job: str, account: str) -> ShardAccepted:
        return ShardAccepted(
            crawl="deep", time=NOW, job=job, account=account, worker="pc", kept=1, pairs=1,
            accepted=1, total=1,
        )  # fmt: skip

    watcher = Watcher([lost("deep/1"), accepted("deep/1", "bob"), accepted("deep/2", "bob")])
    assert watcher.reassigned() == 1
    assert watcher.expired("alice") == ["deep/1"]
    assert watcher.expired("bob") == []
    assert watcher.done_by("deep/1") == "bob"
    assert watcher.done_by("deep/3") is None
    assert Watcher([lost("deep/1"), accepted("deep/1", "alice")]).reassigned() == 0
    released = lost("deep/1", Outcome.RELEASED)
    assert Watcher([released, accepted("deep/1", "bob")]).reassigned() == 0


# ── its processes ────────────────────────────────────────────────────────────────────────────────


async def test_a_child_ends_with_what_it_started(tmp_path: Path) -> None:
    script = (
        "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1], sys.argv[2]])"
    )
    grandchild = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
    command = (sys.executable, "-c", script, grandchild, str(tmp_path))
    async with Child("sleeper", command, tmp_path / "log") as child:
        await _until(lambda: len(_processes_below(tmp_path)) == 2)
        await child.kill()
        assert not child.running
        child.check()  # that it ended is no surprise
    await _until(lambda: not _processes_below(tmp_path))


async def test_a_childs_log_keeps_what_every_start_said(tmp_path: Path) -> None:
    child = Child("speaker", (sys.executable, "-c", "print('hello')"), tmp_path / "log")
    async with child:
        await _until(lambda: not child.running)
        await child.start()
        await _until(lambda: not child.running)
        with pytest.raises(ChildFailed, match=r"the speaker ended by itself \(exit status 0\)"):
            child.check()
    assert child.tail() == "hello\nhello"
    assert child.tail(lines=1) == "hello"
