"""What the project tells its volunteers is shown once on each machine, and only as text."""

from pathlib import Path

from laion_protocol.messages import Announcement
from tests.worker_client.project import Said
from worker_client.news import News


def told(path: Path, *numbers: int, notice: str = "") -> list[str]:
    said = Said()
    News(path, said).tell([Announcement(id=n, text=f"number {n}") for n in numbers], notice)
    return said.lines


def test_each_announcement_is_shown_once_also_after_a_new_start(tmp_path: Path) -> None:
    path = tmp_path / "announced"
    assert told(path, 2, 1) == ["the project says: number 1", "the project says: number 2"]
    assert told(path, 1, 2) == []
    assert told(path, 1, 2, 3) == ["the project says: number 3"]


def test_a_file_that_was_damaged_or_cannot_be_written_costs_a_repetition(tmp_path: Path) -> None:
    path = tmp_path / "announced"
    path.write_text("?")
    assert told(path, 0) == ["the project says: number 0"]
    assert told(path, 0) == []
    nowhere = tmp_path / "no" / "such"
    assert told(nowhere, 0) == told(nowhere, 0) == ["the project says: number 0"]


def test_a_notice_is_repeated_only_when_it_changes(tmp_path: Path) -> None:
    said = Said()
    news = News(tmp_path / "announced", said)
    for notice in ("update soon", "update soon", "", "update soon", "update now"):
        news.tell((), notice)
    assert said.lines == [
        "the tracker says: update soon",
        "the tracker says: update soon",
        "the tracker says: update now",
    ]


def test_a_strangers_words_do_not_steer_the_terminal(tmp_path: Path) -> None:
    said = Said()
    text = "hello\r\n\x1b[2J\x1b]0;title\x07 world\u202e"
    News(tmp_path / "announced", said).tell([Announcement(id=1, text=text)])
    assert said.lines[0].isprintable()
    assert said.lines[0].startswith("the project says: hello")
