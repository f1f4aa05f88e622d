"""Application commands: registering them, and choosing one as a person does."""

import re
from dataclasses import dataclass

from .wire import Json, invalid, snowflake
from .world import Channel, Permission, User

MAX_OPTIONS = 25
MAX_DESCRIPTION = 100
SUBCOMMAND_TYPES = (1, 2)


@dataclass(frozen=True)
class Chosen:
    """A command, and the path of groups down to the part that was chosen."""

    command: Json
    path: tuple[Json, ...]

    @property
    def leaf(self) -> Json:
        """The part that has the options."""
        return self.path[-1] if self.path else self.command

    def data(self, options: list[Json]) -> Json:
        """The interaction's data for these options of the leaf."""
        for part in reversed(self.path):
            options = [{"name": part["name"], "type": part["type"], "options": options}]
        data: Json = {"id": self.command["id"], "name": self.command["name"], "type": 1}
        if "guild_id" in self.command:  # discord.py finds a guild's command by it
            data["guild_id"] = self.command["guild_id"]
        return data | {"options": options}


class Commands:
    """What is registered, globally (None) and by guild."""

    def __init__(self, app_id: str) -> None:
        self._app_id = app_id
        self._tables: dict[str | None, dict[str, Json]] = {}
        self.syncs = 0

    def table(self, guild_id: str | None) -> list[Json]:
        """All commands of one scope."""
        return list(self._tables.get(guild_id, {}).values())

    def replace(self, guild_id: str | None, commands: list[Json]) -> list[Json]:
        """Register these commands in place of all others of the scope."""
        old = {(known["name"], known["type"]): known["id"] for known in self.table(guild_id)}
        table = {}
        for index, given in enumerate(commands):
            kind = given.get("type", 1)
            if kind == 1:
                _check_name(f"{index}.name", given["name"])
                _check_options(str(index), given)
            whole: Json = {"type": 1, "nsfw": False, "contexts": None} | given
            # discord.py sends a number here, Discord answers a string
            needed = given.get("default_member_permissions")
            whole |= {
                "default_member_permissions": None if needed is None else str(needed),
                "integration_types": given.get("integration_types") or [0],
                "id": old.get((given["name"], kind)) or snowflake(),
                "application_id": self._app_id,
                "version": snowflake(),
            }
            if guild_id is not None:
                whole["guild_id"] = guild_id
            table[whole["id"]] = whole
        self._tables[guild_id] = table
        self.syncs += 1
        return self.table(guild_id)

    def choose(self, path: str, guild_id: str | None) -> Chosen:
        """The command that a person finds under `jobs stale`.

        Raises:
            LookupError: no such command is offered there.
        """
        head, *rest = path.split()
        offered = [*(self.table(guild_id) if guild_id else []), *self.table(None)]
        command = next((one for one in offered if one["name"] == head), None)
        if command is None:
            raise LookupError(f"/{path} is not registered here")
        parts: list[Json] = []
        for name in rest:
            inside = (parts[-1] if parts else command)["options"]
            parts.append(next(option for option in inside if option["name"] == name))
        return Chosen(command, tuple(parts))


def check_offered(command: Json, channel: Channel, user: User) -> None:
    """Refuse what Discord's client would not show to this person in this place.

    Raises:
        PermissionError: hidden by permissions, or not offered in this context.
    """
    need = command.get("default_member_permissions")
    if need is not None and channel.guild is not None:
        has = channel.guild.permissions(user)
        admin = has & Permission.ADMINISTRATOR
        if not admin and (int(need) == 0 or has & int(need) != int(need)):
            raise PermissionError(f"/{command['name']} is hidden from {user.name}")
    contexts = command.get("contexts")
    if contexts is not None and (0 if channel.guild else 1) not in contexts:
        raise PermissionError(f"/{command['name']} is not offered in this context")


def fill_in(leaf: Json, given: dict[str, object], focused: str | None = None) -> list[Json]:
    """The options as Discord's client sends them, checked as it checks them.

    Raises:
        ValueError: an option is missing, unknown, out of range or not one of the choices.
    """
    offered = {option["name"]: option for option in leaf.get("options", [])}
    if strange := set(given) - set(offered):
        raise ValueError(f"no such option: {strange}")
    filled = []
    for name, option in offered.items():
        if name not in given:
            if option.get("required") and focused is None:
                raise ValueError(f"option {name} is required")
            continue
        value: object = given[name]
        if option.get("choices") and value not in [one["value"] for one in option["choices"]]:
            raise ValueError(f"{name}: not one of the choices")
        if isinstance(value, int | float) and not (
            option.get("min_value", value) <= value <= option.get("max_value", value)
        ):
            raise ValueError(f"{name}: out of range")
        mark = {"focused": True} if name == focused else {}
        filled.append({"name": name, "type": option["type"], "value": value} | mark)
    return filled


def _check_name(path: str, name: str) -> None:
    if not re.fullmatch(r"[-_\w]{1,32}", name) or name != name.lower():
        invalid(path, "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid")


def _check_options(path: str, node: Json) -> None:
    if not 1 <= len(node.get("description", "")) <= MAX_DESCRIPTION:
        message = f"Must be between 1 and {MAX_DESCRIPTION} in length."
        invalid(path + ".description", "BASE_TYPE_BAD_LENGTH", message)
    options = node.get("options", [])
    if len(options) > MAX_OPTIONS or len(node.get("choices") or []) > MAX_OPTIONS:
        invalid(path + ".options", "BASE_TYPE_MAX_LENGTH", "Must be 25 or fewer in length.")
    for index, option in enumerate(options):
        _check_options(f"{path}.options.{index}", option)
