import pytest
from pydantic import ValidationError

from laion_protocol import Recipe, SourceKind
from laion_protocol.messages import NewCrawl


def crawl(**changed):
    fields = {"name": "c", "base": "https://data.example/", "paths": ("a/b.warc.gz", "a/c.warc.gz")}
    return NewCrawl(recipe=Recipe(kind=SourceKind.WARC), **(fields | changed))


def test_a_list_of_files_under_a_base_is_a_crawl():
    assert len(crawl().paths) == 2


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"paths": ("a", "b", "a")}, "'a' is listed twice"),
        ({"paths": ("/etc/passwd",)}, "leads out of the base"),
        ({"paths": ("a/../../b",)}, "leads out of the base"),
        ({"paths": ()}, "at least 1"),
        ({"base": "https://user:secret@data.example/"}, "must not hold a user or password"),
    ],
)
def test_a_crawl_that_could_never_be_right_is_refused_in_words(changed, says):
    with pytest.raises(ValidationError, match=says) as refused:
        crawl(**changed)

    assert "secret" not in refused.value.errors(include_input=False)[0]["msg"]
