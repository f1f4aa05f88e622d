"""`is_cancelled`: what a task asks that goes round until it is cancelled."""

import asyncio


def is_cancelled() -> bool:
    """Whether somebody asked this task to stop.

    redis-py sends through `asyncio.wait_for`, which may swallow a cancellation (until Python 3.12).
    The request is then still to be seen here; a plain `while True` would go on for ever.
    """
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling() > 0
