"""A fake Discord that speaks the real wire protocol to an unmodified discord.py.

REST v10, the gateway and interactions, on 127.0.0.1. `FakeDiscord` is the server; people are
played through `fake.people`, trouble is made through `fake.faults` and `fake.gateway`.

Not modelled: channel overwrites, reactions, polls, stickers, sharding, search, Discord's real
rate numbers, and how anything looks on a screen.
"""

from .interaction import Interaction, NoAnswer
from .messages import EPHEMERAL, V2, Message, texts, walk
from .server import FakeDiscord
from .world import Channel, Guild, User

__all__ = [
    "EPHEMERAL",
    "V2",
    "Channel",
    "FakeDiscord",
    "Guild",
    "Interaction",
    "Message",
    "NoAnswer",
    "User",
    "texts",
    "walk",
]
