"""The gateway: sessions, heartbeats, dispatch, RESUME, and ways to break a connection."""

import json
import secrets
import time
import zlib
from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from aiohttp import WSMsgType, web

from .signal import Signal
from .wire import Json, now
from .world import World

MAX_FRAME_BYTES = 4096  # Discord's limit on what a client sends
KEPT_FOR_RESUME = 1000  # events


class Op(IntEnum):
    """Gateway opcodes."""

    DISPATCH = 0
    HEARTBEAT = 1
    IDENTIFY = 2
    PRESENCE = 3
    RESUME = 6
    RECONNECT = 7
    REQUEST_MEMBERS = 8
    INVALID_SESSION = 9
    HELLO = 10
    HEARTBEAT_ACK = 11


class Intent:
    """The intents that the fake looks at."""

    GUILDS = 1 << 0
    MEMBERS = 1 << 1
    PRESENCES = 1 << 8
    MESSAGES = 1 << 9
    MESSAGE_CONTENT = 1 << 15
    PRIVILEGED = MEMBERS | PRESENCES | MESSAGE_CONTENT


#: an event is sent only to sessions with the intent of the longest prefix that fits
NEEDS = {
    "GUILD_MEMBER": Intent.MEMBERS,
    "MESSAGE": Intent.MESSAGES,
    "THREAD": Intent.GUILDS,
    "CHANNEL": Intent.GUILDS,
}


@dataclass(eq=False)
class Session:
    """One client's session; it outlives its socket, so that it can be resumed."""

    socket: web.WebSocketResponse | None
    deflate: Any  # zlib's compressor type has no public name
    intents: int = 0
    sequence: int = 0
    last_beat: float = 0.0
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    sent: deque[Json] = field(default_factory=lambda: deque(maxlen=KEPT_FOR_RESUME))

    async def dispatch(self, event: str, data: Json) -> None:
        """Send an event, and keep it for a RESUME."""
        self.sequence += 1
        frame = {"op": Op.DISPATCH, "d": data, "s": self.sequence, "t": event}
        self.sent.append(frame)
        await self.write(frame)

    async def send(self, op: Op, data: object = None) -> None:
        """Send anything but an event."""
        await self.write({"op": op, "d": data, "s": None, "t": None})

    async def write(self, frame: Json) -> None:
        """Put one frame on the socket; without one it stays in `sent`."""
        if self.socket is None or self.socket.closed:
            return
        text = json.dumps(frame)
        try:
            if self.deflate is None:
                await self.socket.send_str(text)
            else:  # zlib-stream: one context a socket, each frame ends in Z_SYNC_FLUSH
                packed = self.deflate.compress(text.encode())
                await self.socket.send_bytes(packed + self.deflate.flush(zlib.Z_SYNC_FLUSH))
        except ConnectionError:
            self.socket = None


class Gateway:
    """All sessions of the one bot."""

    def __init__(self, world: World, signal: Signal, token: str, *, heartbeat_ms: int) -> None:
        self.world, self.signal, self.token = world, signal, token
        self.url = ""
        self.heartbeat_ms = heartbeat_ms
        self.allowed_privileged = 0
        self.sessions: dict[str, Session] = {}
        self.presences: list[Json] = []
        self.identifies = 0
        self.resumes = 0
        self.refusing = False

    async def dispatch(self, event: str, data: Json) -> None:
        """Tell every session that has the intent for it."""
        need = next((bit for prefix, bit in NEEDS.items() if event.startswith(prefix)), 0)
        for session in list(self.sessions.values()):
            if need and not session.intents & need:
                continue
            await session.dispatch(event, self._without_content(session, event, data))
        await self.signal.notify()

    def _without_content(self, session: Session, event: str, data: Json) -> Json:
        """Others' messages are empty without the message content intent."""
        bot = self.world.bot.id
        if (
            not event.startswith("MESSAGE_C")
            or session.intents & Intent.MESSAGE_CONTENT
            or "guild_id" not in data
            or data["author"]["id"] == bot
            or f"<@{bot}>" in data["content"]
        ):
            return data
        return data | {"content": "", "embeds": [], "attachments": [], "components": []}

    # ── one connection ───────────────────────────────────────────────────────────────────────────

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one websocket until it closes."""
        if self.refusing:
            return web.Response(status=503)
        socket = web.WebSocketResponse(max_msg_size=MAX_FRAME_BYTES)
        await socket.prepare(request)
        # text frames are taken whatever compression was asked for, so zstd needs nothing here
        packed = request.query.get("compress") == "zlib-stream"
        session = Session(socket, zlib.compressobj() if packed else None)
        await session.send(Op.HELLO, {"heartbeat_interval": self.heartbeat_ms})
        async for frame in socket:
            if frame.type is not WSMsgType.TEXT:
                break
            message = json.loads(frame.data)
            following = await self._receive(session, Op(message["op"]), message["d"])
            if following is None:
                break
            session = following
            await self.signal.notify()
        return socket

    async def _receive(self, session: Session, op: Op, data: Any) -> Session | None:
        """Answer one frame; the session that the socket now belongs to, None to hang up."""
        if op is Op.HEARTBEAT:
            session.last_beat = time.monotonic()
            await session.send(Op.HEARTBEAT_ACK)
            return session
        if op is Op.IDENTIFY:
            return await self._identify(session, data)
        if op is Op.RESUME:
            return await self._resume(session, data)
        if session.id not in self.sessions:
            await self._hang_up(session, 4003, b"Not authenticated.")
            return None
        if op is Op.PRESENCE:
            self.presences.append(data)
        elif op is Op.REQUEST_MEMBERS:
            await self._send_members(session, data)
        return session

    async def _hang_up(self, session: Session, code: int, why: bytes) -> None:
        if session.socket is not None:
            await session.socket.close(code=code, message=why)

    async def _identify(self, session: Session, data: Json) -> Session | None:
        self.identifies += 1
        if data["token"] != self.token:
            await self._hang_up(session, 4004, b"Authentication failed.")
            return None
        if data["intents"] & Intent.PRIVILEGED & ~self.allowed_privileged:
            await self._hang_up(session, 4014, b"Disallowed intent(s).")
            return None
        session.intents = data["intents"]
        self.sessions[session.id] = session
        if data.get("presence"):
            self.presences.append(data["presence"])
        ready = {
            "v": 10,
            "user": self.world.bot.to_json(),
            "session_id": session.id,
            "resume_gateway_url": self.url,
            "guilds": [{"id": guild, "unavailable": True} for guild in self.world.guilds],
            "application": {"id": self.world.app_id, "flags": 0},
            "private_channels": [],
        }
        await session.dispatch("READY", ready)
        for guild in self.world.guilds.values():
            seen = [
                member.to_json()
                for member in guild.members.values()
                if member.user is self.world.bot or session.intents & Intent.MEMBERS
            ]
            state = {
                "unavailable": False,
                "member_count": len(guild.members),
                "members": seen,
                "joined_at": now(),
                "large": False,
            }
            empty: Json = {
                "voice_states": [],
                "presences": [],
                "stage_instances": [],
                "guild_scheduled_events": [],
                "soundboard_sounds": [],
            }
            await session.dispatch("GUILD_CREATE", guild.to_json() | state | empty)
        return session

    async def _resume(self, session: Session, data: Json) -> Session:
        self.resumes += 1
        old = self.sessions.get(data["session_id"])
        if old is None or (old.sent and data["seq"] < old.sent[0]["s"] - 1):
            await session.send(Op.INVALID_SESSION, False)
            return session
        old.socket, old.deflate = session.socket, session.deflate
        for frame in [frame for frame in old.sent if frame["s"] > data["seq"]]:
            await old.write(frame)
        await old.dispatch("RESUMED", {})
        return old

    async def _send_members(self, session: Session, data: Json) -> None:
        guild = self.world.guilds[str(data["guild_id"])]
        wanted = {str(user) for user in data.get("user_ids", [])}
        start = data.get("query")
        found = [
            member.to_json()
            for user, member in guild.members.items()
            if user in wanted or (start is not None and member.user.name.startswith(start))
        ]
        chunk = {
            "guild_id": guild.id,
            "members": found,
            "chunk_index": 0,
            "chunk_count": 1,
            "nonce": data.get("nonce"),
        }
        await session.dispatch("GUILD_MEMBERS_CHUNK", chunk)

    # ── trouble ──────────────────────────────────────────────────────────────────────────────────

    async def drop(self, code: int | None = None) -> None:
        """Close every socket with a code; without one, cut the line under it."""
        for session in self.sessions.values():
            socket, session.socket = session.socket, None
            if socket is None or socket.closed:
                continue
            if code is not None:
                await socket.close(code=code)
            elif (request := socket._req) is not None and request.transport is not None:
                request.transport.abort()

    async def ask_to_reconnect(self) -> None:
        """Op 7: come back with a RESUME."""
        for session in self.sessions.values():
            await session.send(Op.RECONNECT)

    async def invalidate(self) -> None:
        """Op 9: the session is gone, identify again."""
        for session in [*self.sessions.values()]:
            await session.send(Op.INVALID_SESSION, False)
            del self.sessions[session.id]
