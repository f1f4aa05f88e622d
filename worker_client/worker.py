"""`work`: everything that `laion-worker run` opens, in the order in which it closes."""

import asyncio
import ipaddress
from dataclasses import replace
from urllib.parse import urlsplit

from .errors import BadUsage
from .interrupt import Interrupt
from .pipeline.chain import Interrupted
from .progress import Report
from .runner import Runner
from .settings import WorkerSettings
from .stages import stages_here
from .state import StateDirectory

#: Seconds for which one call to the tracker is tried again, before somebody is told.
_PATIENCE = 20.0


async def work(settings: WorkerSettings, report: Report) -> None:
    """Lock the state directory, connect to the tracker, work until told to stop.

    Raises:
        WorkerError, TrackerError, NotATracker, OutputError: what ends it; see `errors`.
    """
    from laion_protocol.client import TrackerClient

    try:
        client = TrackerClient(
            settings.tracker,
            settings.token,
            user_agent=settings.options.user_agent,
            patience=_PATIENCE,
            worker=settings.worker,
        )
    except ValueError as error:
        raise BadUsage(f"--tracker: {error}") from error
    state = StateDirectory(settings.state, settings.tracker)
    interrupt = Interrupt(report)
    with state.locked():
        async with client:
            with interrupt.listening():
                report.say(f"worker {settings.worker} works for {settings.tracker}")
                if _in_clear_text(settings.tracker):
                    report.say(
                        "your token travels in clear text, for everybody on the way to read; "
                        "ask your project for an https address"
                    )
                if settings.stages is None:
                    here = await asyncio.to_thread(stages_here)
                    report.say(f"stages: {', '.join(here)} (--stages says otherwise)")
                    settings = replace(settings, stages=here)
                await Runner(client, settings, state, report, interrupt).run()
            if interrupt.abandon.is_set():
                raise Interrupted("stopped at once, as asked")


def _in_clear_text(tracker: str) -> bool:
    """Whether what is sent there leaves this machine without TLS."""
    parts = urlsplit(tracker)
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme != "http" or host == "localhost" or host.endswith(".localhost"):
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True
