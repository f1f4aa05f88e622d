"""`StatusMessage`: one message in the status channel, edited for ever, never doubled."""

import logging

import discord

from laion_protocol.message import Message

from .cards import Card
from .layout import layout
from .state_file import StateFile

log = logging.getLogger(__name__)

#: id of the container in the status message: how a bot that lost its data directory, or died
#: between sending and saving, finds its message again
MARKER = 700_001
#: messages to look through for it
LOOK_BACK = 50


class StatusMessageId(Message):
    """Where the status message is."""

    channel: int
    message: int


def _is_marked(message: discord.Message) -> bool:
    return any(
        isinstance(part, discord.components.Container) and part.id == MARKER
        for part in message.components
    )


class StatusMessage:
    """Shows a card in one channel."""

    def __init__(
        self, client: discord.Client, channel: int, file: StateFile[StatusMessageId]
    ) -> None:
        self._client, self._channel, self._file = client, channel, file
        known = file.load()
        self._message = known.message if known and known.channel == channel else None
        self._shown: Card | None = None

    async def show(self, card: Card) -> None:
        """Edit the message, unless it shows just that; make and pin it when there is none.

        Raises:
            discord.HTTPException: Discord refused; what was shown before is still there.
        """
        if card == self._shown:
            return
        if self._message is None:
            self._message = await self._find_own()
        if self._message is None or not await self._edit(self._message, card):
            self._message = await self._make(card)
        self._file.save(StatusMessageId(channel=self._channel, message=self._message))
        self._shown = card

    async def _edit(self, message: int, card: Card) -> bool:
        """False when the message was deleted."""
        channel = self._client.get_partial_messageable(self._channel)
        try:
            await channel.get_partial_message(message).edit(view=layout(card, marker=MARKER))
        except discord.NotFound as error:
            if error.code != 10008:  # Unknown Message; anything else is about the channel
                raise
            log.warning("the status message was deleted; it will be made again")
            return False
        return True

    async def _make(self, card: Card) -> int:
        channel = self._client.get_partial_messageable(self._channel)
        sent = await channel.send(view=layout(card, marker=MARKER), silent=True)
        # saved before it is pinned: a crash between the two costs the pin, not a second message
        self._file.save(StatusMessageId(channel=self._channel, message=sent.id))
        try:
            await sent.pin(reason="the status of the crawl, kept up to date")
        except discord.HTTPException as error:
            log.warning(
                "the status message could not be pinned: %s; give the bot the right to "
                "pin messages in that channel, or pin it yourself",
                error,
            )
        return sent.id

    async def _find_own(self) -> int | None:
        """The status message of an earlier life, among the channel's last messages."""
        me = self._client.user
        channel = self._client.get_partial_messageable(self._channel)
        try:
            async for message in channel.history(limit=LOOK_BACK):
                if message.author == me and _is_marked(message):
                    return message.id
        except discord.Forbidden:
            log.warning("the bot may not read the status channel's history; a new message is made")
        return None
