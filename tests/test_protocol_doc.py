"""docs/protocol.md says what the tracker's OpenAPI document says, no more and no less.

What a message holds stands there in blocks like this one, whose names and types are compared. The
rest of each line is for people:

    LeaseRequest
      worker    Name              this machine's name
      stages?   [Stage] 1..3      what this worker can do
"""

import inspect
import re
from pathlib import Path

import pytest
from pydantic.json_schema import models_json_schema

from laion_protocol import ErrorBody, ErrorCode, IdleReason, Role, Scope, messages
from laion_protocol.errors import TrackerError
from laion_protocol.events import (
    AttemptLost,
    CrawlAddedEvent,
    CrawlFinished,
    CrawlStateChanged,
    FetchAccepted,
    JobDied,
    ShardAccepted,
)
from laion_protocol.message import Message
from laion_protocol.messages import NewCrawl
from tracker import admission, auth
from tracker.app import _ROUTERS, create_app
from tracker.identity.caller import DELEGABLE, SCOPES
from tracker.identity.rates import DEFAULT
from tracker.routes.once import Once
from tracker.routes.uploads import SHA256_HEADER
from tracker.settings import Settings

DOC = (Path(__file__).resolve().parents[1] / "docs/protocol.md").read_text(encoding="utf-8")
#: What crosses the wire and is not in the OpenAPI document: a body that is read by hand, refusals,
#: and what the event stream carries.
UNSEEN = (
    NewCrawl, ErrorBody, CrawlAddedEvent, ShardAccepted, FetchAccepted, AttemptLost, JobDied,
    CrawlFinished, CrawlStateChanged,
)  # fmt: skip
#: FastAPI's own, which no answer of ours has (`tracker/routes/errors.py`).
FOREIGN = {"HTTPValidationError", "ValidationError"}
#: These have tables, and tests of their own.
TABLES = {"ErrorCode", "IdleReason", "Scope", "Role"}
METHODS = "GET|POST|PUT|DELETE"


@pytest.fixture(scope="module")
def openapi():
    return create_app(Settings(data=Path("nowhere"), redis_url="unix:///nowhere")).openapi()


@pytest.fixture(scope="module")
def schemas(openapi):
    """Every message and enumeration by name."""
    _, unseen = models_json_schema([(model, "serialization") for model in UNSEEN])
    found = openapi["components"]["schemas"] | unseen["$defs"]
    return {name: schema for name, schema in found.items() if name not in FOREIGN | TABLES}


# ── what the document says ───────────────────────────────────────────────────────────────────────


def sections():
    """The text of each section by its heading."""
    parts = re.split(r"^#+ (.+)$", DOC, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def tables(section):
    """The rows of a section's tables, without their heads; each a list of cells."""
    for line in sections()[section].splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def documented_calls():
    """`(method, path) -> (cells)` of every row that begins with a call."""
    found = {}
    for line in DOC.splitlines():
        if head := re.match(rf"\| `({METHODS}) (/[^`]*)` \|", line):
            assert head.groups() not in found, f"{head[0]} twice"
            found[head.groups()] = [cell.strip() for cell in line.strip("|").split("|")]
    return found


def documented_messages():
    """`name -> {field: type}` of every block; the values of an enumeration have the type ''."""
    found, name = {}, None
    for block in re.findall(r"^```text\n(.*?)^```", DOC, flags=re.M | re.S):
        for line in block.splitlines():
            if head := re.fullmatch(r"([A-Z]\w+)", line):
                name = head[1]
                assert name not in found, f"{name} twice"
                found[name] = {}
            elif field := re.match(r"  (\w+\??)(?:  +(\S+(?: \S+)*))?", line):
                found[name][field[1]] = field[2] or ""
    return found


# ── what the tracker says ────────────────────────────────────────────────────────────────────────

NAMED = {
    pattern: name for name, pattern in re.findall(r"^\| `(\w+)` \| `(\^.*\$)` \|", DOC, flags=re.M)
}


def shape(schema):
    """A JSON schema as one short word, with its bounds."""
    if "$ref" in schema:
        return schema["$ref"].rsplit("/", 1)[1]
    if "anyOf" in schema:
        return " or ".join(shape(choice) for choice in schema["anyOf"])
    if "const" in schema:
        return f'"{schema["const"]}"'
    if "enum" in schema:
        return "/".join(schema["enum"])
    kind = schema.get("type", "any")
    if kind == "array":
        return f"[{shape(schema['items'])}]" + bounds(schema, "minItems", "maxItems")
    if kind == "object" and "patternProperties" in schema:
        ((pattern, inner),) = schema["patternProperties"].items()
        return f"{{{NAMED.get(pattern, pattern)}: {shape(inner)}}}"
    if kind == "object":
        key = shape(schema.get("propertyNames", {"type": "string"}))
        return f"{{{key}: {shape(schema['additionalProperties'])}}}"
    if "pattern" in schema and "maxLength" not in schema:
        return NAMED.get(schema["pattern"], schema["pattern"])
    if kind == "string":
        return "time" if "format" in schema else "string" + bounds(schema, "minLength", "maxLength")
    if kind == "integer" and (schema.get("minimum"), schema.get("maximum")) == (0, 2**53):
        return "Count"
    kind = {"integer": "int", "boolean": "bool"}.get(kind, kind)
    return kind + bounds(schema, "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def bounds(schema, least, most, above="", below=""):
    start = f"{schema[least]:g}" if least in schema else ""
    end = f"{schema[most]:.0f}" if most in schema else ""
    if above in schema:
        start = f">{schema[above]:g}"
    if below in schema:
        end = f"<{schema[below]:.0f}"
    return f" {start}..{end}" if start or end else ""


def said(schema):
    """`{field: type}` of a message, or the values of an enumeration."""
    if "enum" in schema:
        return dict.fromkeys(schema["enum"], "")
    required = schema.get("required", ())
    return {
        name + ("" if name in required else "?"): shape(inner)
        for name, inner in schema.get("properties", {}).items()
    }


def the_calls(openapi):
    return {
        (method.upper(), path): call
        for path, calls in openapi["paths"].items()
        for method, call in calls.items()
    }


def answer_of(call):
    """What a success carries: a message, a list of them, or its status."""
    status, answer = next(row for row in call["responses"].items() if row[0].startswith("2"))
    schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
    if "$ref" in schema or schema.get("type") == "array":
        return shape(schema)
    return "" if status == "200" else status  # bytes, text, a stream


def who_may():
    """`(method, path) -> ` the word for who may call it."""
    words = {
        auth.anyone: "anyone", auth._anyone_known: "any token",
        auth._worker: "work", auth._leaser: "work",
    }  # fmt: skip
    found = {}
    for module in _ROUTERS:
        for route in module.router.routes:
            asked = {
                words.get(call) or inspect.getclosurevars(call).nonlocals["scope"].value
                for call in calls_of(route.dependant)
                if call in words or getattr(call, "__name__", "") == "having"
            }
            for method in route.methods:
                found[method, route.path] = " ".join(sorted(asked)) or "anyone"
    return found


def calls_of(dependant):
    for inner in dependant.dependencies:
        yield inner.call
        yield from calls_of(inner)


# ── do they agree? ───────────────────────────────────────────────────────────────────────────────


def test_the_document_has_each_route_and_no_other(openapi):
    pages = {key for key in who_may() if key[1] == "/device"}  # for people: not in OpenAPI

    assert set(documented_calls()) == set(the_calls(openapi)) | pages


def test_each_route_takes_answers_and_is_open_to_what_its_row_says(openapi):
    calls, rows, who = the_calls(openapi), documented_calls(), who_may()
    wrong = {}
    for key, call in calls.items():
        _, body, answer, caller, text = rows[key]
        content = call.get("requestBody", {}).get("content", {}).get("application/json")
        if key == ("POST", "/v1/admin/crawls"):  # read by hand, once the caller is known
            content = {"schema": {"$ref": "#/NewCrawl"}}
        expected = (shape(content["schema"]) if content else None, answer_of(call), who[key])
        told = (
            body.strip("`") if content else None, answer.strip("`") if expected[1] else "", caller,
        )  # fmt: skip
        if told != expected or not text:
            wrong[key] = expected
        for parameter in call.get("parameters", []):
            if parameter["in"] == "query" and f"`{parameter['name']}`" not in text:
                wrong[key, parameter["name"]] = "not in its row"

    assert wrong == {}


def test_the_document_has_each_message_with_each_field_and_no_other(schemas):
    documented = documented_messages()

    assert set(documented) == set(schemas)
    wrong = {}
    for name, schema in schemas.items():
        expected, told = said(schema), documented[name]
        if "enum" in schema:  # what follows a value is for people
            told = dict.fromkeys(told, "")
        if told != expected:
            wrong[name] = {"expected": expected, "documented": told}
    assert wrong == {}


def test_no_message_of_the_protocol_is_left_out(schemas):
    ours = {
        name
        for name in messages.__all__
        if inspect.isclass(model := getattr(messages, name)) and issubclass(model, Message)
    }

    assert ours - set(schemas) == set()


def test_the_document_has_each_error_code_with_its_status_and_no_other():
    documented = {row[0].strip("`"): int(row[1]) for row in tables("Errors")}

    statuses = {error.code.value: error.status.value for error in TrackerError.__subclasses__()}
    assert documented == statuses
    assert set(documented) == set(ErrorCode)


def test_the_reasons_to_be_idle_are_told_in_the_order_in_which_they_are_judged():
    documented = [row[0].strip("`") for row in tables("No job, and why")]

    judged = re.findall(r"^    (\w+)  +\S", admission.__doc__ or "", flags=re.M)
    assert documented == judged
    assert set(documented) == set(IdleReason)


def test_the_document_has_the_scopes_of_each_role():
    rows = {row[0].strip("`"): row[1:] for row in tables("Roles and scopes")}

    assert set(rows) == set(Scope)
    for scope in Scope:
        _, lent, *roles = rows[scope]
        assert (lent == "yes") is (scope in DELEGABLE), scope
        assert [cell == "yes" for cell in roles] == [scope in SCOPES[role] for role in Role], scope


def test_the_document_has_the_rates():
    rows = {row[0].strip("`"): row[2:] for row in tables("How often one may call")}

    told = {name: (float(cells[0]), int(cells[1])) for name, cells in rows.items()}
    assert told == {
        name: (getattr(DEFAULT, name).per_second, getattr(DEFAULT, name).burst) for name in told
    }
    assert set(told) == {"call", "lease", "beat", "address", "address_beat", "anonymous"}


@pytest.mark.parametrize(
    "header", [auth.WORKER_HEADER, auth.KEY_HEADER, SHA256_HEADER, "Idempotent-Replay"]
)
def test_each_header_is_documented(header):
    assert f"`{header}`" in DOC or f"`{header}:" in DOC


def test_the_document_says_which_calls_are_done_once():
    routes = {
        (method, route.path)
        for module in _ROUTERS
        for route in module.router.routes
        if isinstance(route, Once)
        for method in route.methods - {"GET"}
    }
    under = re.search(
        r"It is obeyed by every `POST`, `PUT` and `DELETE` under (.+?)\.\s", DOC, re.S
    )
    assert under is not None
    prefixes = tuple(re.findall(r"`(/[^`]+)`", under[1]))
    meant = {key for key in who_may() if key[0] != "GET" and key[1].startswith(prefixes)} - set(
        re.findall(rf"`({METHODS}) (/[^`]+)` is\s+not\s+among\s+them", DOC)
    )

    assert meant == routes
