import pytest

from tracker.place import CannotServe
from tracker.redis_check import check_url, masked


@pytest.mark.parametrize(
    "url",
    ["redis://:hunter2@host:port/0", "http://:hunter2@host/", "hunter2@host", "redis://:hun#2@h:1"],
)
def test_what_is_no_redis_url_is_refused_without_repeating_its_password(url):
    with pytest.raises(CannotServe, match="no Redis URL") as refused:
        check_url(url)

    assert "hun" not in str(refused.value)
    assert refused.value.__suppress_context__


@pytest.mark.parametrize("url", ["redis://host:6379/0", "rediss://:p%40@host", "unix:///tmp/s"])
def test_a_redis_url_is_taken(url):
    check_url(url)


def test_a_password_is_masked_where_a_url_is_shown():
    assert masked("redis://me:hunter2@host:6379/0?x=hunter2") == "redis://me:***@host:6379/0"
