"""What is wrong with a message is told in our words, with the field and without the value."""

import pytest
from pydantic import ValidationError

from laion_protocol import Recipe, SourceKind
from laion_protocol.messages import JobFilter, NewCrawl, NewToken, Requeue, Treat
from laion_protocol.wording import problem


def crawl(**changed):
    fields = {"name": "c", "base": "https://e/", "paths": ("a",), **changed}
    return NewCrawl(**{"recipe": Recipe(kind=SourceKind.WARC), **fields})


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: crawl(name="a b"), "name: a name has up to 64 letters, digits"),
        (lambda: crawl(parts=0), "parts: must be at least 1"),
        (lambda: crawl(max_attempts=99), "max_attempts: must be at most 20"),
        (lambda: crawl(parts="x"), "parts: must be a whole number"),
        (lambda: crawl(base="x" * 2000), "base: must have at most 1024 characters"),
        (lambda: crawl(paths=()), "paths: must have at least 1, has 0"),
        (lambda: crawl(paths=("/a",)), "paths: '/a' leads out of the base; give a path inside it"),
        (lambda: crawl(recipe={"kind": "zip"}), "recipe.kind: must be 'warc' or 'wat'"),
        (lambda: crawl(recipe={"kind": "wat", "x": 1}), "recipe.x: is not known here"),
        (
            lambda: crawl(recipe={"kind": "wat", "min_similarity": float("inf")}),
            "recipe.min_similarity: must be a finite number",
        ),
        (lambda: NewCrawl.model_validate({"name": "c"}), "base: is missing"),
        (lambda: NewCrawl.model_validate_json(b"{"), "body: is no JSON: EOF while parsing"),
        (lambda: NewCrawl.model_validate_json(b"[]"), "body: must be a JSON object"),
        (lambda: Treat(reason=""), "reason: must have at least 1 character"),
        (lambda: Treat(reason="x", until="2020-01-01T00:00:00"), "until: must be a time with its"),
        (lambda: Treat(reason="x", dry_run="maybe"), "dry_run: must be true or false"),
        (
            lambda: JobFilter(state="accepted"),
            "state: must be 'leased', 'verifying', 'pending' or 'dead'",
        ),
        (lambda: Requeue(jobs=("x",), reason="x"), "jobs.0: name a job as <crawl>/<number>"),
        (lambda: NewToken(label="\x00"), "label: has a character, or a form"),
    ],
)
def test_each_mistake_has_a_sentence(make, says):
    with pytest.raises(ValidationError) as refused:
        make()
    assert problem(refused.value).startswith(says)


def test_a_value_is_never_repeated_unless_the_rule_itself_names_it():
    with pytest.raises(ValidationError) as refused:
        crawl(base="https://user:secret@data.example/")
    assert "secret" not in problem(refused.value)
