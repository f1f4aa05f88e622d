"""`problem`: what is wrong with a message, in a sentence of ours.

pydantic's own words are for programmers: "Input should be greater than or equal to 1".
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError

_MOST: Final = 500  #: characters

#: `messages.names` and their like, by how their pattern ends
_SHAPES: Final = (
    (r"/\d{1,12}$", "name a job as <crawl>/<number>"),
    (r"~[0-9a-f]{32}$", "send the lease_id that the tracker gave"),
    (
        r"{0,63}$",
        "a name has up to 64 letters, digits, dots, dashes and underscores, and begins with a "
        "letter or a digit",
    ),
    (r"[0-9a-f]{64}$", "a SHA-256 has 64 digits and letters from a to f"),
    (r"^[0-9a-f]{16}$", "an id has 16 digits and letters from a to f"),
    (r"^\d{1,20}$", "a Discord id is a number"),
)

_SENTENCES: Final[dict[str, Callable[[Mapping[str, Any]], str]]] = {
    "missing": lambda _: "is missing",
    "extra_forbidden": lambda _: "is not known here",
    "greater_than_equal": lambda told: f"must be at least {told['ge']}",
    "greater_than": lambda told: f"must be over {told['gt']}",
    "less_than_equal": lambda told: f"must be at most {told['le']}",
    "less_than": lambda told: f"must be under {told['lt']}",
    "finite_number": lambda _: "must be a finite number",
    "string_too_short": lambda told: f"must have at least {_count(told, 'min_length')}",
    "string_too_long": lambda told: f"must have at most {_count(told, 'max_length')}",
    "too_short": lambda told: (
        f"must have at least {told['min_length']}, has {told['actual_length']}"
    ),
    "too_long": lambda told: f"must have at most {told['max_length']}",
    "string_pattern_mismatch": lambda told: _shape(told["pattern"]),
    "enum": lambda told: f"must be {told['expected']}",
    "literal_error": lambda told: f"must be {_plain(told['expected'])}",
    "value_error": lambda told: str(told["error"]),
    "timezone_aware": lambda _: "must be a time with its zone, as 2026-11-23T18:00:00Z",
    "json_invalid": lambda told: f"is no JSON: {told['error']}",
    "json_type": lambda _: "is no JSON",
    "model_type": lambda _: "must be a JSON object",
    "model_attributes_type": lambda _: "must be a JSON object",
    "dict_type": lambda _: "must be a JSON object",
    "string_type": lambda _: "must be text",
    "union_tag_invalid": lambda told: f"must be {told['expected_tags']}",
}
#: by how the error's name begins
_KINDS: Final = (
    ("int_", "must be a whole number"),
    ("float_", "must be a number"),
    ("decimal_", "must be a number"),
    ("bool_", "must be true or false"),
    ("datetime_", "must be a time, as 2026-11-23T18:00:00Z"),
    ("tuple_", "must be a list"),
    ("list_", "must be a list"),
    ("url_", "must be a URL"),
)


def problem(error: ValidationError | Sequence[Any], whole: str = "body") -> str:
    """The first thing that is wrong: the field, and what to change. Values are left out: one may be
    a secret, or a megabyte.

    Args:
        error: what pydantic raised, or the list of its errors.
        whole: what to call the message itself.
    """
    errors = error.errors(include_url=False) if isinstance(error, ValidationError) else error
    first = errors[0]
    parts = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
    field = ".".join(parts) or whole
    return f"{field}: {_sentence(first)}"[:_MOST]


def _sentence(error: Mapping[str, Any]) -> str:
    kind, told = error["type"], error.get("ctx", {})
    if kind in _SENTENCES:
        return _SENTENCES[kind](told)
    return next(
        (words for start, words in _KINDS if kind.startswith(start)), "is not what it must be"
    )


def _shape(pattern: str) -> str:
    fits = (words for end, words in _SHAPES if pattern.endswith(end))
    return next(fits, "has a character, or a form, that it must not have")


def _count(told: Mapping[str, Any], bound: str) -> str:
    return f"{told[bound]} character{'s' * (told[bound] != 1)}"


def _plain(expected: str) -> str:
    """`<JobState.DEAD: 'dead'>` is for programmers."""
    return re.sub(r"<[\w.]+: ('[^']*')>", r"\1", expected)
