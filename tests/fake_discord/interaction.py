"""`Interaction`: one thing that a person did in Discord, and what came of it."""

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from enum import IntEnum

from .messages import LOADING, Message
from .wire import Json, snowflake
from .world import Channel, User


class Kind(IntEnum):
    """What a person did."""

    COMMAND = 2
    COMPONENT = 3
    AUTOCOMPLETE = 4
    MODAL = 5


class Reply(IntEnum):
    """How a bot may answer."""

    MESSAGE = 4
    DEFERRED_MESSAGE = 5
    DEFERRED_UPDATE = 6
    UPDATE = 7
    CHOICES = 8
    MODAL = 9


ALLOWED = {
    Kind.COMMAND: {Reply.MESSAGE, Reply.DEFERRED_MESSAGE, Reply.MODAL},
    Kind.COMPONENT: {
        Reply.MESSAGE,
        Reply.DEFERRED_MESSAGE,
        Reply.DEFERRED_UPDATE,
        Reply.UPDATE,
        Reply.MODAL,
    },
    Kind.AUTOCOMPLETE: {Reply.CHOICES},
    Kind.MODAL: {Reply.MESSAGE, Reply.DEFERRED_MESSAGE, Reply.DEFERRED_UPDATE, Reply.UPDATE},
}


class NoAnswer(Exception):
    """'The application did not respond': the three seconds are over."""


@dataclass(eq=False)
class Interaction:
    """One thing that a person did, and what came of it."""

    kind: Kind
    channel: Channel
    user: User
    source: Message | None = None
    reply: Reply | None = None
    late: bool = False
    original: Message | None = None
    followups: list[Message] = field(default_factory=list)
    modal: Json | None = None
    choices: list[Json] = field(default_factory=list)
    id: str = field(default_factory=snowflake)
    token: str = field(default_factory=lambda: secrets.token_urlsafe(48))
    began: float = field(default_factory=time.monotonic)
    ack_seconds: float | None = None
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def message(self) -> Message:
        """The reply, or the message that the button belongs to."""
        assert self.original is not None, "there is no reply yet"
        return self.original

    @property
    def done(self) -> bool:
        """A reply is there, and it is not 'thinking…' any more."""
        return self.original is not None and not self.original.flags & LOADING
