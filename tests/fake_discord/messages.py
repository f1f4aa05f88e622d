"""Messages: Discord's limits on them, and where they are kept."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from .wire import ApiError, Json, invalid, now, snowflake, unknown
from .world import Channel, User

EPHEMERAL, LOADING, V2 = 1 << 6, 1 << 7, 1 << 15

# Discord's documented limits
MAX_CONTENT = 2000
MAX_EMBED_TITLE = 256
MAX_EMBED_DESCRIPTION = 4096
MAX_EMBED_FIELDS = 25
MAX_EMBED_TOTAL = 6000
MAX_CUSTOM_ID = 100
MAX_LABEL = 80
MAX_ACTION_ROWS = 5
MAX_V2_COMPONENTS = 40
MAX_V2_TEXT = 4000

TEXT_DISPLAY = 10
BUTTON = 2


def walk(components: list[Json]) -> Iterator[Json]:
    """Every component, at any depth, in order."""
    for component in components:
        yield component
        yield from walk(component.get("components") or [])
        for key in ("accessory", "component"):
            if component.get(key):
                yield from walk([component[key]])


def texts(message: "Message") -> str:
    """All that a person reads in a message."""
    parts = [message.content]
    for embed in message.embeds:
        parts += [embed.get("title") or "", embed.get("description") or ""]
        parts += [f"{item['name']}\n{item['value']}" for item in embed.get("fields", [])]
    parts += [part["content"] for part in walk(message.components) if part["type"] == TEXT_DISPLAY]
    return "\n".join(part for part in parts if part)


@dataclass(eq=False)
class Message:
    """One message, as everybody or (ephemeral) its one reader sees it now."""

    channel: Channel
    author: User
    type: int = 0
    content: str = ""
    embeds: list[Json] = field(default_factory=list)
    components: list[Json] = field(default_factory=list)
    attachments: list[Json] = field(default_factory=list)
    flags: int = 0
    pinned: bool = False
    extra: Json = field(default_factory=dict)
    id: str = field(default_factory=snowflake)
    timestamp: str = field(default_factory=now)
    edited: str | None = None
    edits: int = 0

    @property
    def ephemeral(self) -> bool:
        """Only the person who caused it sees it; it is in no history."""
        return bool(self.flags & EPHEMERAL)

    def to_json(self) -> Json:
        """The message object."""
        return {
            "id": self.id,
            "channel_id": self.channel.id,
            "author": self.author.to_json(),
            "content": self.content,
            "timestamp": self.timestamp,
            "edited_timestamp": self.edited,
            "tts": False,
            "type": self.type,
            "mention_everyone": False,
            "mentions": [],
            "mention_roles": [],
            "attachments": self.attachments,
            "embeds": self.embeds,
            "components": self.components,
            "pinned": self.pinned,
            "flags": self.flags,
        } | self.extra


def check_limits(draft: Json) -> None:
    """Refuse what Discord would refuse in a message.

    Raises:
        ApiError: with the field's name, as Discord words it.
    """
    if len(draft.get("content") or "") > MAX_CONTENT:
        invalid("content", "BASE_TYPE_MAX_LENGTH", f"Must be {MAX_CONTENT} or fewer in length.")
    _check_embeds(draft.get("embeds") or [])
    components = draft.get("components") or []
    v2 = bool((draft.get("flags") or 0) & V2)
    if v2 and (draft.get("content") or draft.get("embeds")):
        code = "MESSAGE_CANNOT_USE_LEGACY_FIELDS_WITH_COMPONENTS_V2"
        invalid("content", code, "content/embeds cannot be used with Components V2")
    _check_components(components, v2=v2)
    if not any(
        draft.get(key) for key in ("content", "embeds", "components", "attachments", "poll")
    ):
        raise ApiError(400, 50006, "Cannot send an empty message")


def _check_embeds(embeds: list[Json]) -> None:
    total = 0
    for index, embed in enumerate(embeds):
        for key, limit in (("title", MAX_EMBED_TITLE), ("description", MAX_EMBED_DESCRIPTION)):
            if len(embed.get(key) or "") > limit:
                message = f"Must be {limit} or fewer in length."
                invalid(f"embeds.{index}.{key}", "BASE_TYPE_MAX_LENGTH", message)
            total += len(embed.get(key) or "")
        fields = embed.get("fields", [])
        if len(fields) > MAX_EMBED_FIELDS:
            message = f"Must be {MAX_EMBED_FIELDS} or fewer in length."
            invalid(f"embeds.{index}.fields", "BASE_TYPE_MAX_LENGTH", message)
        total += sum(len(item["name"]) + len(item["value"]) for item in fields)
        total += len((embed.get("footer") or {}).get("text") or "")
    if total > MAX_EMBED_TOTAL:
        invalid("embeds", "MAX_EMBED_SIZE_EXCEEDED", f"Embeds exceed {MAX_EMBED_TOTAL} characters")


def _check_components(components: list[Json], *, v2: bool) -> None:
    seen: set[str] = set()
    everything = list(walk(components))
    for component in everything:
        custom_id = component.get("custom_id")
        if custom_id in seen:
            invalid("components", "COMPONENT_CUSTOM_ID_DUPLICATED", custom_id)
        if custom_id and len(custom_id) > MAX_CUSTOM_ID:
            invalid("components", "BASE_TYPE_BAD_LENGTH", custom_id)
        if custom_id:
            seen.add(custom_id)
        if component["type"] == BUTTON and len(component.get("label") or "") > MAX_LABEL:
            invalid("components", "BASE_TYPE_MAX_LENGTH", "label")
    if not v2:
        if len(components) > MAX_ACTION_ROWS:
            invalid("components", "BASE_TYPE_BAD_LENGTH", "Must be between 1 and 5 in length.")
        return
    if len(everything) > MAX_V2_COMPONENTS:
        code = "COMPONENT_MAX_TOTAL_COMPONENTS_EXCEEDED"
        invalid("components", code, f"more than {MAX_V2_COMPONENTS} components")
    if sum(len(part.get("content") or "") for part in everything) > MAX_V2_TEXT:
        code = "COMPONENT_DISPLAYABLE_TEXT_SIZE_EXCEEDED"
        invalid("components", code, f"more than {MAX_V2_TEXT} characters of text")


@dataclass(frozen=True)
class Upload:
    """One file of a multipart request."""

    name: str
    content: bytes
    content_type: str


class MessageStore:
    """All messages, and the files attached to them."""

    def __init__(self) -> None:
        self.files: dict[str, Upload] = {}
        self.cdn = ""
        self._messages: dict[str, Message] = {}

    def post(
        self, channel: Channel, author: User, draft: Json, *, type: int = 0, **extra: str
    ) -> Message:
        """A new message, if Discord would take it."""
        check_limits(draft)
        message = Message(channel, author, type, flags=draft.get("flags") or 0, extra=dict(extra))
        if draft.get("nonce"):
            message.extra["nonce"] = draft["nonce"]
        if draft.get("message_reference"):
            message.type = 19
            message.extra["message_reference"] = draft["message_reference"]
        message.content = draft.get("content") or ""
        self._set_parts(message, draft)
        self._messages[message.id] = message
        return message

    def edit(self, message: Message, patch: Json) -> Message:
        """The message with some of its parts replaced; a V2 message stays one."""
        whole = {
            "content": patch.get("content", message.content),
            "embeds": patch.get("embeds", message.embeds),
            "components": patch.get("components", message.components),
            "attachments": patch.get("attachments", message.attachments),
            "flags": (patch.get("flags") or 0) & V2 | message.flags,
        }
        check_limits(whole)
        message.content = whole["content"] or ""
        message.flags = whole["flags"] & ~LOADING
        message.edited = now()
        message.edits += 1
        self._set_parts(message, whole)
        return message

    def find(self, message_id: str, channel_id: str | None = None) -> Message:
        """A message by id; by its channel too, where ephemeral ones do not exist.

        Raises:
            ApiError: 10008, there is no such message there.
        """
        message = self._messages.get(message_id)
        if message is None or (
            channel_id is not None and (message.channel.id != channel_id or message.ephemeral)
        ):
            raise unknown("Message", 10008)
        return message

    def delete(self, message: Message) -> None:
        """Take it away."""
        self._messages.pop(message.id, None)

    def history(self, channel: Channel) -> list[Message]:
        """What everybody in the channel can scroll back to, oldest first."""
        return [m for m in self._messages.values() if m.channel is channel and not m.ephemeral]

    def all(self) -> list[Message]:
        """Every message there is, ephemeral ones too, oldest first."""
        return list(self._messages.values())

    def _set_parts(self, message: Message, draft: Json) -> None:
        """Attachments stored, `attachment://` links rewritten, components numbered."""
        known = {attachment["id"]: attachment for attachment in message.attachments}
        attachments = []
        for item in draft.get("attachments") or []:
            upload: Upload | None = item.get("upload")
            if upload is None:
                attachments += [known[str(item["id"])]] if str(item["id"]) in known else []
                continue
            file_id = snowflake()
            self.files[file_id] = upload
            url = f"{self.cdn}/{file_id}/{upload.name}"
            attachments.append(
                {
                    "id": file_id,
                    "filename": item.get("filename", upload.name),
                    "size": len(upload.content),
                    "url": url,
                    "proxy_url": url,
                    "content_type": upload.content_type,
                }
            )
        parts = json.dumps([draft.get("embeds") or [], draft.get("components") or []])
        for attachment in attachments:
            link = re.escape("attachment://" + attachment["filename"])
            parts = re.sub(link, attachment["url"], parts)
        message.attachments = attachments
        message.embeds, message.components = json.loads(parts)
        taken = {part["id"] for part in walk(message.components) if part.get("id")}
        free = (number for number in range(1, 1000) if number not in taken)
        for component in walk(message.components):
            if not component.get("id"):
                component["id"] = next(free)
