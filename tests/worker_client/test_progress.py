import io
import os
import time

import pytest

from worker_client.meter import Meter
from worker_client.progress import LiveReport, PlainReport, progress_line, report_to


def meter() -> Meter:
    made = Meter()
    made.stage, made.downloaded = "download", 7
    made.tally.pages, made.tally.pairs, made.tally.kept = 3, 40, 5
    return made


def test_the_line_tells_the_stage_the_counts_and_the_rate() -> None:
    line = progress_line(meter(), 10)
    assert line == "download · 3 pages · 40 pairs · 7 images · 5 kept · 4 pairs/s"


def test_a_pipe_gets_lines_with_the_time_and_one_about_the_job_now_and_then() -> None:
    stream = io.StringIO()
    report = report_to(stream)
    assert isinstance(report, PlainReport)
    report.say("hello")
    quick = PlainReport(stream, every=0.01)
    with quick.watching(meter(), "job 1"):
        end = time.monotonic() + 10
        while "job 1: download · 3 pages" not in stream.getvalue():
            assert time.monotonic() < end
            time.sleep(0.01)
    assert stream.getvalue().splitlines()[0].endswith(" hello")
    assert stream.getvalue()[4] == "-"


@pytest.mark.skipif(os.name != "posix", reason="a pseudo-terminal is POSIX's")
def test_a_terminal_gets_one_live_line_and_sentences_as_they_are() -> None:
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal:
        report = report_to(terminal)
        assert isinstance(report, LiveReport)
        with report.watching(meter(), "job 1"):
            report.say("[bold]a page's own words[/bold]")
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "[bold]a page's own words[/bold]" in shown
    assert "job 1: download" in shown
