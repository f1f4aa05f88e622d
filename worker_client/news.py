"""`News`: what the project tells its volunteers, shown once on each machine."""

from collections.abc import Iterable
from pathlib import Path

from laion_protocol.messages import Announcement

from .disk import OutputError, write_whole, writing_to
from .progress import Report


class News:
    """Remembers in a file which announcement was the last; their numbers rise."""

    def __init__(self, path: Path, report: Report) -> None:
        self._path = path
        self._report = report
        self._last = _read(path)
        self._notice = ""

    def tell(self, announcements: Iterable[Announcement], notice: str = "") -> None:
        """Say what has not been said; a notice again only after another one."""
        before = self._last
        for announcement in sorted(announcements, key=lambda one: one.id):
            if announcement.id > self._last:
                self._report.say(f"the project says: {_one_line(announcement.text)}")
                self._last = announcement.id
        if self._last != before:
            self._remember()
        if notice and notice != self._notice:
            self._report.say(f"the tracker says: {_one_line(notice)}")
        self._notice = notice

    def _remember(self) -> None:
        try:
            with writing_to(self._path.parent):
                write_whole(self._path, str(self._last).encode())
        except OutputError:  # it is said again after the next start, and what matters will tell
            return


def _read(path: Path) -> int:
    try:
        return int(path.read_bytes()[:32])
    except (OSError, ValueError):
        return -1


def _one_line(text: str) -> str:
    """A stranger's words, without what would move the cursor."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
