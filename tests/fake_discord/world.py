"""Who and what there is: users, guilds, roles, members, channels."""

from dataclasses import dataclass, field
from enum import IntEnum, IntFlag

from .wire import Json, now, snowflake

ALL_PERMISSIONS = (1 << 53) - 1


class Permission(IntFlag):
    """The bits that the fake enforces."""

    ADMINISTRATOR = 1 << 3
    MANAGE_GUILD = 1 << 5
    VIEW_CHANNEL = 1 << 10
    SEND_MESSAGES = 1 << 11
    MANAGE_ROLES = 1 << 28
    USE_COMMANDS = 1 << 31


EVERYONE = Permission.VIEW_CHANNEL | Permission.SEND_MESSAGES | Permission.USE_COMMANDS


class ChannelType(IntEnum):
    """The kinds of channel that the fake has."""

    TEXT = 0
    DM = 1
    PUBLIC_THREAD = 11


@dataclass(eq=False)
class User:
    """A person or a bot."""

    name: str
    bot: bool = False
    dms_open: bool = True
    id: str = field(default_factory=snowflake)

    def to_json(self) -> Json:
        """The user object."""
        return {
            "id": self.id,
            "username": self.name,
            "discriminator": "0",
            "global_name": self.name,
            "avatar": None,
            "bot": self.bot,
            "public_flags": 0,
            "flags": 0,
            "primary_guild": None,
        }


@dataclass(eq=False)
class Role:
    """A named set of permissions."""

    name: str
    permissions: int
    position: int = 0
    id: str = field(default_factory=snowflake)

    def to_json(self) -> Json:
        """The role object."""
        return {
            "id": self.id,
            "name": self.name,
            "permissions": str(int(self.permissions)),
            "position": self.position,
            "color": 0,
            "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
            "hoist": False,
            "managed": False,
            "mentionable": False,
            "flags": 0,
        }


@dataclass(eq=False)
class Member:
    """A user in a guild."""

    user: User
    roles: list[Role]
    joined_at: str = field(default_factory=now)

    def to_json(self) -> Json:
        """The member object, with its user."""
        return {
            "user": self.user.to_json(),
            "roles": [role.id for role in self.roles],
            "joined_at": self.joined_at,
            "deaf": False,
            "mute": False,
            "flags": 0,
            "nick": None,
            "avatar": None,
            "banner": None,
            "communication_disabled_until": None,
            "pending": False,
            "premium_since": None,
        }


@dataclass(eq=False)
class Channel:
    """A text channel, a thread, or a direct message."""

    name: str
    type: ChannelType = ChannelType.TEXT
    guild: "Guild | None" = None
    parent: "Channel | None" = None
    recipient: User | None = None
    owner_id: str = ""
    id: str = field(default_factory=snowflake)

    def to_json(self) -> Json:
        """The channel object."""
        if self.guild is None:
            people = [self.recipient.to_json()] if self.recipient else []
            return {"id": self.id, "type": int(self.type), "flags": 0, "recipients": people}
        body: Json = {
            "id": self.id,
            "type": int(self.type),
            "name": self.name,
            "guild_id": self.guild.id,
            "position": 0,
            "permission_overwrites": [],
            "parent_id": self.parent.id if self.parent else None,
            "nsfw": False,
            "flags": 0,
        }
        if self.type is ChannelType.PUBLIC_THREAD:
            body |= {
                "owner_id": self.owner_id,
                "message_count": 0,
                "member_count": 1,
                "total_message_sent": 0,
                "thread_metadata": {
                    "archived": False,
                    "auto_archive_duration": 1440,
                    "archive_timestamp": now(),
                    "locked": False,
                },
            }
        return body


@dataclass(eq=False)
class Guild:
    """A server with its roles, members and channels."""

    name: str
    owner: User
    locale: str = "en-US"
    id: str = field(default_factory=snowflake)
    roles: list[Role] = field(default_factory=list)
    members: dict[str, Member] = field(default_factory=dict)
    channels: list[Channel] = field(default_factory=list)
    threads: list[Channel] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.roles.append(Role("@everyone", EVERYONE, id=self.id))

    def add_role(self, name: str, permissions: int = 0) -> Role:
        """A new role above the others."""
        role = Role(name, permissions, position=len(self.roles))
        self.roles.append(role)
        return role

    def add_member(self, user: User, *roles: Role) -> Member:
        """Let a user in."""
        member = self.members[user.id] = Member(user, list(roles))
        return member

    def permissions(self, user: User) -> int:
        """What a member may do, from @everyone and their roles."""
        if user is self.owner:
            return ALL_PERMISSIONS
        granted = int(self.roles[0].permissions)
        for role in self.members[user.id].roles:
            granted |= int(role.permissions)
        return ALL_PERMISSIONS if granted & Permission.ADMINISTRATOR else granted

    def member_json(self, user: User) -> Json:
        """The member object as interactions carry it, with computed permissions."""
        return self.members[user.id].to_json() | {"permissions": str(self.permissions(user))}

    def to_json(self) -> Json:
        """The guild object without its members."""
        return {
            "id": self.id,
            "name": self.name,
            "owner_id": self.owner.id,
            "preferred_locale": self.locale,
            "features": [],
            "channels": [channel.to_json() for channel in self.channels],
            "threads": [thread.to_json() for thread in self.threads],
            "roles": [role.to_json() for role in self.roles],
            "emojis": [],
            "stickers": [],
        }


class World:
    """All users, guilds and channels; the bot and the guilds' owner are there from the start."""

    def __init__(self) -> None:
        self.users: dict[str, User] = {}
        self.guilds: dict[str, Guild] = {}
        self.channels: dict[str, Channel] = {}
        self.bot = self.add_user("tracker-bot", bot=True)
        self.owner = self.add_user("owner")

    @property
    def app_id(self) -> str:
        """The application's id, which is its bot user's."""
        return self.bot.id

    def add_user(self, name: str, *, bot: bool = False) -> User:
        """A new user, member of nothing."""
        user = User(name, bot)
        self.users[user.id] = user
        return user

    def add_guild(self, name: str, locale: str = "en-US") -> Guild:
        """A new guild with its owner and the bot in it."""
        guild = self.guilds.setdefault((made := Guild(name, self.owner, locale)).id, made)
        for user in (self.owner, self.bot):
            guild.add_member(user)
        return guild

    def add_channel(self, guild: Guild, name: str, parent: Channel | None = None) -> Channel:
        """A text channel; a public thread when it has a parent."""
        kind = ChannelType.TEXT if parent is None else ChannelType.PUBLIC_THREAD
        channel = Channel(name, kind, guild, parent, owner_id=self.bot.id)
        (guild.channels if parent is None else guild.threads).append(channel)
        self.channels[channel.id] = channel
        return channel

    def direct_channel(self, user: User) -> Channel:
        """The bot's direct message channel with a user, opened when needed."""
        for channel in self.channels.values():
            if channel.recipient is user:
                return channel
        channel = Channel("", ChannelType.DM, recipient=user)
        self.channels[channel.id] = channel
        return channel
