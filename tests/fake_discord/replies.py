"""`Replies`: how the bot may answer an interaction, and when it may not."""

import time

from .gateway import Gateway
from .interaction import ALLOWED, Interaction, Kind, Reply
from .messages import LOADING, V2, Message, MessageStore
from .wire import ApiError, Json, invalid, unknown
from .world import World

TOKEN_SECONDS = 900  # an interaction's token lives a quarter of an hour
MAX_CHOICES = 25
MAX_MODAL_TITLE = 45


class Replies:
    """The bot's side of every interaction."""

    def __init__(self, world: World, messages: MessageStore, gateway: Gateway) -> None:
        self._world, self._messages, self._gateway = world, messages, gateway
        self.interactions: list[Interaction] = []

    async def respond(self, interaction_id: str, token: str, body: Json) -> Json:
        """The bot's first answer; what `with_response` returns.

        Raises:
            ApiError: unknown, too late, answered before, or answered in a way that is not allowed.
        """
        interaction = self._by_token(token)
        if interaction is None or interaction.id != interaction_id or interaction.late:
            raise unknown("interaction", 10062)
        if interaction.reply is not None:
            raise ApiError(400, 40060, "Interaction has already been acknowledged.")
        reply, data = Reply(body["type"]), body.get("data") or {}
        if reply not in ALLOWED[interaction.kind]:
            invalid("type", "BASE_TYPE_CHOICES", "This interaction cannot be answered so")
        message = await self._apply(interaction, reply, data)
        interaction.reply = reply
        interaction.answered.set()
        about: Json = {
            "id": interaction.id,
            "type": int(interaction.kind),
            "response_message_loading": reply is Reply.DEFERRED_MESSAGE,
            "response_message_ephemeral": message is not None and message.ephemeral,
        }
        if message is None:
            return {"interaction": about}
        about["response_message_id"] = message.id
        if reply is Reply.DEFERRED_MESSAGE:  # by the specification it has no resource
            return {"interaction": about}
        return {
            "interaction": about,
            "resource": {"type": int(reply), "message": message.to_json()},
        }

    async def _apply(self, interaction: Interaction, reply: Reply, data: Json) -> Message | None:
        match reply:
            case Reply.MESSAGE:
                return await self._reply(interaction, data, data.get("flags") or 0)
            case Reply.DEFERRED_MESSAGE:
                flags = (data.get("flags") or 0) | LOADING
                message = await self._reply(interaction, {"content": "\u200b"}, flags)
                message.content = ""
                return message
            case Reply.UPDATE:
                assert interaction.source is not None
                interaction.original = self._messages.edit(interaction.source, data)
                await self.announce("MESSAGE_UPDATE", interaction.original)
                return interaction.original
            case Reply.DEFERRED_UPDATE:
                interaction.original = interaction.source
            case Reply.CHOICES:
                if len(data["choices"]) > MAX_CHOICES:
                    invalid("data.choices", "BASE_TYPE_MAX_LENGTH", "Must be 25 or fewer.")
                interaction.choices = data["choices"]
            case Reply.MODAL:
                if len(data["custom_id"]) > 100 or len(data["title"]) > MAX_MODAL_TITLE:
                    invalid("data", "BASE_TYPE_MAX_LENGTH", "custom_id or title is too long")
                interaction.modal = data
        return None

    async def _reply(self, interaction: Interaction, draft: Json, flags: int) -> Message:
        app = self._world.app_id
        message = self._messages.post(
            interaction.channel,
            self._world.bot,
            draft | {"flags": flags},
            type=20 if interaction.kind is Kind.COMMAND else 0,
            application_id=app,
            webhook_id=app,
        )
        interaction.original = message
        await self.announce("MESSAGE_CREATE", message)
        return message

    def find(self, token: str) -> Interaction:
        """The interaction whose webhook this is.

        Raises:
            ApiError: unknown, not acknowledged, or older than a quarter of an hour.
        """
        interaction = self._by_token(token)
        if interaction is None or interaction.reply is None:
            raise unknown("Webhook", 10015)
        if time.monotonic() - interaction.began > TOKEN_SECONDS:
            raise ApiError(401, 50027, "Invalid Webhook Token")
        return interaction

    async def follow_up(self, token: str, draft: Json) -> Message:
        """A further message; the first after a deferred reply fills that one."""
        interaction = self.find(token)
        first = interaction.original
        if first is not None and first.flags & LOADING:
            flags = {"flags": (draft.get("flags") or 0) & V2}
            message = self._messages.edit(first, draft | flags)
            await self.announce("MESSAGE_UPDATE", message)
            return message
        app = self._world.app_id
        message = self._messages.post(
            interaction.channel, self._world.bot, draft, application_id=app, webhook_id=app
        )
        interaction.followups.append(message)
        await self.announce("MESSAGE_CREATE", message)
        return message

    async def announce(self, event: str, message: Message) -> None:
        """Tell the gateway about a message that everybody can see."""
        if message.ephemeral:
            return
        body = message.to_json()
        if guild := message.channel.guild:
            body["guild_id"] = guild.id
            if message.author.id in guild.members:
                member = guild.members[message.author.id].to_json()
                del member["user"]
                body["member"] = member
        await self._gateway.dispatch(event, body)

    def _by_token(self, token: str) -> Interaction | None:
        return next((one for one in self.interactions if one.token == token), None)
