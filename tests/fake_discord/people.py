"""`People`: what persons do: type commands, press buttons, fill in modals, write."""

import asyncio
import time

from .commands import Commands, check_offered, fill_in
from .gateway import Gateway
from .interaction import Interaction, Kind, NoAnswer
from .messages import Message, MessageStore, walk
from .replies import Replies
from .wire import Json
from .world import Channel, User, World

LABEL, TEXT_INPUT = 18, 4


class People:
    """The human side of every interaction; `all` has them in order."""

    def __init__(
        self,
        world: World,
        messages: MessageStore,
        commands: Commands,
        gateway: Gateway,
        replies: Replies,
        ack_deadline: float,
    ) -> None:
        self._world, self._messages, self._commands = world, messages, commands
        self._gateway, self._replies, self.ack_deadline = gateway, replies, ack_deadline
        self.all: list[Interaction] = []
        replies.interactions = self.all

    async def slash(
        self, user: User, channel: Channel, path: str, /, *, locale: str = "en-US", **given: object
    ) -> Interaction:
        """Type a command: `slash(alice, channel, "jobs stale", silent=10)`.

        Raises:
            LookupError, PermissionError, ValueError: Discord's client would not let them.
            NoAnswer: the bot did not acknowledge it within three seconds.
        """
        chosen = self._commands.choose(path, channel.guild.id if channel.guild else None)
        check_offered(chosen.command, channel, user)
        data = chosen.data(fill_in(chosen.leaf, given)) | {
            "resolved": self._resolve(channel, given)
        }
        return await self._interact(Interaction(Kind.COMMAND, channel, user), data, locale)

    async def autocomplete(
        self, user: User, channel: Channel, path: str, focused: str, /, **given: object
    ) -> list[str]:
        """Type into an option: the names that are offered."""
        chosen = self._commands.choose(path, channel.guild.id if channel.guild else None)
        data = chosen.data(fill_in(chosen.leaf, given, focused))
        done = await self._interact(Interaction(Kind.AUTOCOMPLETE, channel, user), data)
        return [choice["name"] for choice in done.choices]

    async def click(self, user: User, message: Message, label_or_id: str) -> Interaction:
        """Press the button with this label or custom_id.

        Raises:
            LookupError, PermissionError: there is none, or it is disabled.
        """
        buttons = [part for part in walk(message.components) if part.get("custom_id")]
        wanted = [one for one in buttons if label_or_id in (one["custom_id"], one.get("label"))]
        if not wanted:
            raise LookupError(f"no button {label_or_id!r} on the message")
        button = wanted[0]
        if button.get("disabled"):
            raise PermissionError(f"{label_or_id!r} is disabled")
        data = {key: button[key] for key in ("custom_id", "id")}
        data["component_type"] = button["type"]
        return await self._interact(
            Interaction(Kind.COMPONENT, message.channel, user, message), data
        )

    async def submit(self, opened: Interaction, /, **values: str) -> Interaction:
        """Fill in the modal that an interaction opened, by custom_id, and send it."""
        modal = opened.modal
        assert modal is not None, "no modal is open"
        rows = []
        for number, row in enumerate(modal["components"], 1):
            inside = [row["component"]] if row["type"] == LABEL else row["components"]
            filled = [
                {
                    "type": part["type"],
                    "custom_id": part["custom_id"],
                    "id": 100 + number,
                    "value" if part["type"] == TEXT_INPUT else "values": values[part["custom_id"]],
                }
                for part in inside
            ]
            held = {"component": filled[0]} if row["type"] == LABEL else {"components": filled}
            rows.append({"type": row["type"], "id": number} | held)
        data = {"custom_id": modal["custom_id"], "components": rows}
        return await self._interact(
            Interaction(Kind.MODAL, opened.channel, opened.user, opened.source), data
        )

    async def say(self, user: User, channel: Channel, text: str) -> Message:
        """Write a message."""
        message = self._messages.post(channel, user, {"content": text})
        await self._replies.announce("MESSAGE_CREATE", message)
        return message

    async def _interact(
        self, interaction: Interaction, data: Json, locale: str = "en-US"
    ) -> Interaction:
        self.all.append(interaction)
        await self._gateway.dispatch("INTERACTION_CREATE", self._payload(interaction, data, locale))
        try:
            await asyncio.wait_for(interaction.answered.wait(), self.ack_deadline)
        except TimeoutError:
            interaction.late = True
            raise NoAnswer("The application did not respond") from None
        interaction.ack_seconds = time.monotonic() - interaction.began
        return interaction

    def _payload(self, interaction: Interaction, data: Json, locale: str) -> Json:
        channel, guild, user = interaction.channel, interaction.channel.guild, interaction.user
        bot_may = guild.permissions(self._world.bot) if guild else 0
        payload: Json = {
            "id": interaction.id,
            "application_id": self._world.app_id,
            "type": int(interaction.kind),
            "token": interaction.token,
            "version": 1,
            "data": data,
            "channel_id": channel.id,
            "channel": channel.to_json(),
            "locale": locale,
            "entitlements": [],
            "authorizing_integration_owners": {"0": guild.id if guild else "0"},
            "context": 0 if guild else 1,
            "attachment_size_limit": 10 << 20,
            "app_permissions": str(bot_may),
        }
        if guild:
            payload |= {
                "guild_id": guild.id,
                "guild": {"id": guild.id, "features": [], "locale": guild.locale},
                "guild_locale": guild.locale,
                "member": guild.member_json(user),
            }
        else:
            payload["user"] = user.to_json()
        if interaction.source:
            payload["message"] = interaction.source.to_json()
        return payload

    def _resolve(self, channel: Channel, given: dict[str, object]) -> Json:
        users = [self._world.users[v] for v in given.values() if v in self._world.users]
        if not users or channel.guild is None:
            return {}
        members = {user.id: channel.guild.member_json(user) for user in users}
        for member in members.values():
            del member["user"]
        return {"users": {user.id: user.to_json() for user in users}, "members": members}
