"""`Meter`: how far a job is, for the screen and the heartbeat to look at."""

from laion_protocol.messages import Progress

from .tally import Tally


class Meter:
    """Written by the pipeline's thread, read by others; a glance may be one pair behind."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.stage = ""  #: read, download, write, upload
        self.downloaded = 0  #: images fetched, before any look at them

    def progress(self) -> Progress:
        """What a heartbeat carries."""
        return Progress(
            stage=self.stage,
            pairs=self.tally.pairs,
            downloaded=self.downloaded,
            kept=self.tally.kept,
        )
