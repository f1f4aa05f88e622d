"""Which Discord to talk to: the only place that knows where discord.py keeps its addresses."""

import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route


def use_discord_at(api: str, gateway: str) -> None:
    """Point discord.py, for this whole process, at a proxy or a fake."""
    Route.BASE = api.rstrip("/")
    DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway)
