"""Discord's own OpenAPI document as a judge of what bot and fake say to each other."""

import json
import re
from functools import cached_property
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from tests.fake_discord.server import Exchange

#: data that may not be in the repository, beside a checkout
DOCUMENT = Path(__file__).parents[3] / "shared" / "data" / "discord" / "openapi.json"
_URI = "urn:discord"


class DiscordApi:
    """Validates exchanges; each fault is one line that names the place, not the values."""

    def __init__(self, document: Path) -> None:
        self._document = json.loads(document.read_bytes())
        resource = Resource.from_contents(self._document, default_specification=DRAFT202012)
        self._registry: Registry[Any] = Registry().with_resource(_URI, resource)

    @cached_property
    def _paths(self) -> list[tuple[re.Pattern[str], str]]:
        # fixed names before parameters: /users/@me is not /users/{user_id}
        order = sorted(self._document["paths"], key=lambda path: path.count("{"))
        return [(re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)), path) for path in order]

    def faults(self, exchange: Exchange) -> list[str]:
        """What is wrong with one request and its answer."""
        template = next(
            (path for pattern, path in self._paths if pattern.fullmatch(exchange.path)), None
        )
        if template is None:
            return [f"{exchange.method} {exchange.path}: no such path"]
        operation = self._document["paths"][template].get(exchange.method.lower())
        name = f"{exchange.method} {template}"
        if operation is None:
            return [f"{name}: no such method"]
        found = []
        pointer = f"#/paths/{_escaped(template)}/{exchange.method.lower()}"
        if exchange.request is not None:
            if "requestBody" not in operation:
                return [f"{name}: takes no body"]
            schema = f"{pointer}/requestBody/content/application~1json/schema"
            found += self._check(f"{name} request", schema, exchange.request)
        answers = operation["responses"]
        status = str(exchange.status)
        if status not in answers:
            if f"{status[0]}XX" not in answers:
                return [*found, f"{name}: {status} is not foreseen"]
            status = f"{status[0]}XX"
        if exchange.response is not None and "content" in answers[status]:
            schema = f"{pointer}/responses/{status}/content/application~1json/schema"
            found += self._check(f"{name} {status}", schema, exchange.response)
        elif exchange.response is not None and "$ref" not in answers[status]:
            found.append(f"{name} {status}: has no body")
        return found

    def _check(self, name: str, pointer: str, instance: Any) -> list[str]:
        schema = {"$ref": _URI + pointer}
        validator = Draft202012Validator(schema, registry=self._registry)
        return [
            f"{name}: {re.sub(r'[0-9]+', 'N', error.json_path)}: {error.message[:200]}"
            for error in validator.iter_errors(instance)
        ]


def _escaped(path: str) -> str:
    # a JSON pointer in a URI fragment
    return path.replace("~", "~0").replace("/", "~1").replace("{", "%7B").replace("}", "%7D")
