"""How uvicorn serves the tracker, wherever it is served."""

from typing import Any

import uvicorn

from .app import create_app
from .settings import Settings
from .slow_clients import patient


def web_config(settings: Settings, **options: Any) -> uvicorn.Config:
    """uvicorn's settings for a tracker's app; `options` go on top."""
    fixed: dict[str, Any] = {
        "http": patient(settings),
        "ws": "none",
        "lifespan": "on",
        "log_config": None,
        "access_log": False,  # a line a heartbeat; `/metrics` counts them
        "server_header": False,
        "timeout_keep_alive": 30,
    }
    return uvicorn.Config(create_app(settings), **fixed | options)
