"""What `--redis-url` may say."""

import pytest

from tracker.redis_check import masked
from tracker.redis_url import Kind, parse_redis_url


def test_sentinels_name_a_master_and_may_ask_for_a_password_of_their_own():
    place = parse_redis_url(
        "redis+sentinel://me:p%40ss@one:1,two/jobs/3?replicas=1&sentinel_password=other"
    )
    assert (place.kind, place.service, place.replicas) == (Kind.SENTINEL, "jobs", 1)
    assert place.hosts == (("one", 1), ("two", 26379))
    assert place.options == {"username": "me", "password": "p@ss", "db": 3}
    assert place.sentinel_options == {"password": "other"}
    assert "ss" not in repr(place).replace("class", "").replace("replicas", "")


def test_a_cluster_is_named_by_some_of_its_nodes_and_may_speak_tls():
    place = parse_redis_url("rediss+cluster://:pw@[::1]:7000,two?ssl_ca_certs=/ca.pem")
    assert (place.kind, place.hosts) == (Kind.CLUSTER, (("::1", 7000), ("two", 6379)))
    assert place.options == {"password": "pw", "ssl": True, "ssl_ca_certs": "/ca.pem"}


def test_one_server_keeps_its_url_but_for_what_is_ours():
    place = parse_redis_url("unix:///run/redis.sock?db=2&replicas=2")
    assert (place.kind, place.replicas) == (Kind.SERVER, 2)
    assert place.url == "unix:///run/redis.sock?db=2"


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://host:1",  # of which master?
        "redis+sentinel://host:1/jobs/x",
        "redis+cluster://host:1/0",  # has no databases
        "redis+cluster://host:1?replicas=1",
        "redis+cluster://",
        "redis+cluster://host:port",
        "redis+something://host",
        "unix+cluster://host",
        "redis://host/0?replicas=-1",
        "redis://host/0?sentinel_password=x",
    ],
)
def test_what_makes_no_sense_is_refused(url):
    with pytest.raises(ValueError):  # noqa: PT011
        parse_redis_url(url)


def test_passwords_of_many_hosts_are_masked():
    assert masked("redis+sentinel://me:hunter2@a:1,b:2/jobs?sentinel_password=hunter2") == (
        "redis+sentinel://me:***@a:1,b:2/jobs"
    )
