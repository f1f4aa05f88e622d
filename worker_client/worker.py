"""`work`: everything that `laion-worker run` opens, in the order in which it closes."""

from .errors import BadUsage
from .interrupt import Interrupt
from .pipeline.chain import Interrupted
from .progress import Report
from .runner import Runner
from .settings import WorkerSettings
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
        )
    except ValueError as error:
        raise BadUsage(f"--tracker: {error}") from error
    state = StateDirectory(settings.state, settings.tracker)
    interrupt = Interrupt(report)
    with state.locked():
        async with client:
            with interrupt.listening():
                report.say(f"worker {settings.worker} works for {settings.tracker}")
                await Runner(client, settings, state, report, interrupt).run()
            if interrupt.abandon.is_set():
                raise Interrupted("stopped at once, as asked")
