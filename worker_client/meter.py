"""`Meter`: how far a job is, for the screen and the heartbeat to look at."""

import threading
from typing import Final

from laion_protocol.messages import Progress

from .tally import Tally

#: Seconds between two looks at `stop` while the work is paused.
_GLANCE: Final = 0.2


class Meter:
    """Written by the pipeline's thread, read by others; a glance may be one pair behind."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.stage = ""  #: read, download, write, upload
        self.downloaded = 0  #: images fetched, before any look at them
        self.may_run = threading.Event()  #: clear while the tracker asks for a pause
        self.may_run.set()

    def wait_while_paused(self, stop: threading.Event) -> None:
        """For the pipeline's thread: return when the work may go on, or `stop` is set."""
        while not self.may_run.wait(_GLANCE) and not stop.is_set():
            self.stage = "paused"

    def progress(self) -> Progress:
        """What a heartbeat carries."""
        return Progress(
            stage=self.stage,
            pairs=self.tally.pairs,
            downloaded=self.downloaded,
            kept=self.tally.kept,
        )
