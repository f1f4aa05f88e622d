"""REST v10: the routes that discord.py uses, each a few lines over the nouns beside it."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from .bodies import read_body
from .commands import Commands
from .gateway import Gateway
from .messages import Message, MessageStore
from .replies import Replies
from .wire import ApiError, answer, now, unknown
from .world import Channel, ChannelType, Guild, Member, Permission, World

API = "/api/v10"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Rest:
    """All REST handlers."""

    def __init__(
        self,
        world: World,
        messages: MessageStore,
        commands: Commands,
        replies: Replies,
        gateway: Gateway,
    ) -> None:
        self._world, self._messages, self._commands = world, messages, commands
        self._replies, self._gateway = replies, gateway

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Register every route."""
        channel, guild = f"{API}/channels/{{channel}}", f"{API}/guilds/{{guild}}"
        app, hook = f"{API}/applications/{{app}}", f"{API}/webhooks/{{app}}/{{token}}"
        role = f"{guild}/members/{{user}}/roles/{{role}}"
        routes: list[tuple[str, str, Handler]] = [
            ("GET", f"{API}/users/@me", self._me),
            ("GET", f"{API}/users/{{user}}", self._user),
            ("GET", f"{API}/oauth2/applications/@me", self._application),
            ("GET", f"{API}/gateway/bot", self._gateway_bot),
            ("POST", f"{API}/users/@me/channels", self._open_direct),
            ("GET", channel, self._channel),
            ("POST", f"{channel}/typing", self._nothing),
            ("POST", f"{channel}/threads", self._make_thread),
            ("POST", f"{channel}/messages", self._post),
            ("GET", f"{channel}/messages", self._history),
            ("GET", f"{channel}/messages/pins", self._pins),
            ("PUT", f"{channel}/messages/pins/{{message}}", self._pin),
            ("DELETE", f"{channel}/messages/pins/{{message}}", self._unpin),
            ("GET", f"{channel}/messages/{{message}}", self._message),
            ("PATCH", f"{channel}/messages/{{message}}", self._edit),
            ("DELETE", f"{channel}/messages/{{message}}", self._delete),
            ("POST", f"{channel}/messages/{{message}}/threads", self._make_thread),
            ("GET", f"{guild}/members/{{user}}", self._get_member),
            ("PUT", role, self._give_role),
            ("DELETE", role, self._take_role),
            ("GET", f"{app}/commands", self._get_commands),
            ("PUT", f"{app}/commands", self._put_commands),
            ("GET", f"{app}/guilds/{{guild}}/commands", self._get_commands),
            ("PUT", f"{app}/guilds/{{guild}}/commands", self._put_commands),
            ("POST", f"{API}/interactions/{{id}}/{{token}}/callback", self._callback),
            ("POST", hook, self._follow_up),
            ("GET", f"{hook}/messages/{{message}}", self._hook_get),
            ("PATCH", f"{hook}/messages/{{message}}", self._hook_edit),
            ("DELETE", f"{hook}/messages/{{message}}", self._hook_delete),
            ("GET", "/cdn/{file}/{name}", self._file),
        ]
        for method, path, handler in routes:
            router.add_route(method, path, handler)

    # ── who am I ─────────────────────────────────────────────────────────────────────────────────

    async def _me(self, request: web.Request) -> web.Response:
        return answer(self._world.bot.to_json() | {"locale": "en-US", "mfa_enabled": False})

    async def _user(self, request: web.Request) -> web.Response:
        user = self._world.users.get(request.match_info["user"])
        if user is None:
            raise unknown("User", 10013)
        return answer(user.to_json())

    async def _application(self, request: web.Request) -> web.Response:
        empty = dict.fromkeys(
            (
                "icon",
                "type",
                "team",
                "interactions_endpoint_url",
                "role_connections_verification_url",
            )
        )
        zero = dict.fromkeys(
            (
                "flags",
                "explicit_content_filter",
                "approximate_user_install_count",
                "approximate_user_authorization_count",
            ),
            0,
        )
        return answer(
            {
                "id": self._world.app_id,
                "name": "tracker",
                "description": "",
                "bot_public": False,
                "bot_require_code_grant": False,
                "owner": self._world.owner.to_json(),
                "verify_key": "",
                "flags_new": "0",
                "approximate_guild_count": len(self._world.guilds),
                "eligible_oauth2_scopes": [],
                "redirect_uris": [],
            }
            | empty
            | zero
        )

    async def _gateway_bot(self, request: web.Request) -> web.Response:
        limit = {"total": 1000, "remaining": 999, "reset_after": 1, "max_concurrency": 1}
        return answer({"url": self._gateway.url, "shards": 1, "session_start_limit": limit})

    async def _nothing(self, request: web.Request) -> web.Response:
        return web.Response(status=204)

    # ── channels and messages ────────────────────────────────────────────────────────────────────

    def _find_channel(self, request: web.Request) -> Channel:
        channel = self._world.channels.get(request.match_info["channel"])
        if channel is None:
            raise unknown("Channel", 10003)
        return channel

    def _writable(self, request: web.Request) -> Channel:
        channel = self._find_channel(request)
        if channel.type is ChannelType.DM:
            if channel.recipient is not None and not channel.recipient.dms_open:
                raise ApiError(403, 50007, "Cannot send messages to this user")
        elif channel.guild is not None:
            may = channel.guild.permissions(self._world.bot)
            if not may & Permission.SEND_MESSAGES:
                raise ApiError(403, 50013, "Missing Permissions")
        return channel

    def _find_message(self, request: web.Request) -> Message:
        return self._messages.find(request.match_info["message"], request.match_info["channel"])

    async def _channel(self, request: web.Request) -> web.Response:
        return answer(self._find_channel(request).to_json())

    async def _open_direct(self, request: web.Request) -> web.Response:
        user = self._world.users[str((await request.json())["recipient_id"])]
        return answer(self._world.direct_channel(user).to_json())

    async def _post(self, request: web.Request) -> web.Response:
        draft = await read_body(request)
        message = self._messages.post(self._writable(request), self._world.bot, draft)
        await self._replies.announce("MESSAGE_CREATE", message)
        return answer(message.to_json())

    async def _history(self, request: web.Request) -> web.Response:
        history = self._messages.history(self._find_channel(request))[::-1]
        before = request.query.get("before")
        if before is not None:
            history = [message for message in history if int(message.id) < int(before)]
        newest = history[: int(request.query.get("limit", 50))]
        return answer([message.to_json() for message in newest])

    async def _message(self, request: web.Request) -> web.Response:
        return answer(self._find_message(request).to_json())

    async def _edit(self, request: web.Request) -> web.Response:
        message = self._find_message(request)
        if message.author is not self._world.bot:
            raise ApiError(403, 50005, "Cannot edit a message authored by another user")
        self._messages.edit(message, await read_body(request))
        await self._replies.announce("MESSAGE_UPDATE", message)
        return answer(message.to_json())

    async def _delete(self, request: web.Request) -> web.Response:
        message = self._find_message(request)
        self._messages.delete(message)
        guild = message.channel.guild
        gone = {"id": message.id, "channel_id": message.channel.id}
        where = {"guild_id": guild.id} if guild else {}
        await self._gateway.dispatch("MESSAGE_DELETE", gone | where)
        return web.Response(status=204)

    async def _pins(self, request: web.Request) -> web.Response:
        pinned = [m for m in self._messages.history(self._find_channel(request)) if m.pinned]
        items = [{"pinned_at": now(), "message": message.to_json()} for message in pinned]
        return answer({"items": items, "has_more": False})

    async def _pin(self, request: web.Request) -> web.Response:
        self._find_message(request).pinned = True
        return web.Response(status=204)

    async def _unpin(self, request: web.Request) -> web.Response:
        self._find_message(request).pinned = False
        return web.Response(status=204)

    async def _make_thread(self, request: web.Request) -> web.Response:
        parent = self._writable(request)
        if parent.guild is None:
            raise ApiError(400, 50024, "Cannot execute action on this channel type")
        thread = self._world.add_channel(parent.guild, (await request.json())["name"], parent)
        await self._gateway.dispatch("THREAD_CREATE", thread.to_json() | {"newly_created": True})
        return answer(thread.to_json(), status=201)

    async def _file(self, request: web.Request) -> web.Response:
        upload = self._messages.files[request.match_info["file"]]
        return web.Response(body=upload.content, content_type=upload.content_type)

    # ── guilds ───────────────────────────────────────────────────────────────────────────────────

    def _find_member(self, request: web.Request) -> tuple[Guild, Member]:
        guild = self._world.guilds.get(request.match_info["guild"])
        member = guild.members.get(request.match_info["user"]) if guild else None
        if guild is None or member is None:
            raise unknown("Member", 10007)
        return guild, member

    async def _get_member(self, request: web.Request) -> web.Response:
        guild, member = self._find_member(request)
        return answer(guild.member_json(member.user))

    async def _give_role(self, request: web.Request) -> web.Response:
        return await self._change_role(request, give=True)

    async def _take_role(self, request: web.Request) -> web.Response:
        return await self._change_role(request, give=False)

    async def _change_role(self, request: web.Request, *, give: bool) -> web.Response:
        guild, member = self._find_member(request)
        if not guild.permissions(self._world.bot) & Permission.MANAGE_ROLES:
            raise ApiError(403, 50013, "Missing Permissions")
        wanted = next(one for one in guild.roles if one.id == request.match_info["role"])
        if give and wanted not in member.roles:
            member.roles.append(wanted)
        if not give and wanted in member.roles:
            member.roles.remove(wanted)
        await self._gateway.dispatch(
            "GUILD_MEMBER_UPDATE", member.to_json() | {"guild_id": guild.id}
        )
        return web.Response(status=204)

    # ── commands and interactions ────────────────────────────────────────────────────────────────

    async def _get_commands(self, request: web.Request) -> web.Response:
        return answer(self._commands.table(request.match_info.get("guild")))

    async def _put_commands(self, request: web.Request) -> web.Response:
        guild = request.match_info.get("guild")
        return answer(self._commands.replace(guild, await request.json()))

    async def _callback(self, request: web.Request) -> web.Response:
        body = await read_body(request)
        token = request.match_info["token"]
        done = await self._replies.respond(request.match_info["id"], token, body)
        if request.query.get("with_response") not in ("1", "true"):
            return web.Response(status=204)
        return answer(done)

    async def _follow_up(self, request: web.Request) -> web.Response:
        draft = await read_body(request)
        message = await self._replies.follow_up(request.match_info["token"], draft)
        return answer(message.to_json())

    def _hook_message(self, request: web.Request) -> Message:
        interaction = self._replies.find(request.match_info["token"])
        if request.match_info["message"] != "@original":
            return self._messages.find(request.match_info["message"])
        if interaction.original is None:
            raise unknown("Message", 10008)
        return interaction.original

    async def _hook_get(self, request: web.Request) -> web.Response:
        return answer(self._hook_message(request).to_json())

    async def _hook_edit(self, request: web.Request) -> web.Response:
        message = self._messages.edit(self._hook_message(request), await read_body(request))
        await self._replies.announce("MESSAGE_UPDATE", message)
        return answer(message.to_json())

    async def _hook_delete(self, request: web.Request) -> web.Response:
        self._messages.delete(self._hook_message(request))
        return web.Response(status=204)
