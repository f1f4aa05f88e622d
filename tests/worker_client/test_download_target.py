"""How URLs and redirects are read before they are requested."""

import pytest

from worker_client.pipeline.target import Target, TargetInvalid


@pytest.mark.parametrize(
    "url",
    [
        "", "x.jpg", "//example.org/x.jpg", "http://", "ftp://example.org/x", "file:///etc/passwd",
        "gopher://example.org/", "data:image/png;base64,AAAA", "javascript:alert(1)",
        "http://example.org:99999/", "http://exa mple.org/", "http://a\nb.org/",
        "http://" + "ü" * 70 + ".org/", "http://example.org/\udcff",
    ],
)  # fmt: skip
def test_what_is_no_http_url_is_invalid(url):
    with pytest.raises(TargetInvalid):
        Target.parse(url)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://2130706433/", "127.0.0.1"), ("http://0x7f.1/", "127.0.0.1"),
        ("http://0177.0.0.1/", "127.0.0.1"), ("http://127.1/", "127.0.0.1"),
        ("http://%31%32%37.0.0.1/", "127.0.0.1"), ("http://１２７.0.0.1/", "127.0.0.1"),
        ("http://[::1]/", "[::1]"), ("http://EXAMPLE.org./x", "example.org"),
        ("http://example.org@10.0.0.1/", "10.0.0.1"),
    ],
)  # fmt: skip
def test_every_spelling_of_a_host_comes_out_as_one(url, host):
    assert Target.parse(url).host == host


def test_a_url_in_any_script_is_sent_as_ascii():
    target = Target.parse("http://exämple.org/bücher?q=ä b#teil")
    assert target.host == "xn--exmple-cua.org"
    assert target.url == "http://xn--exmple-cua.org/b%C3%BCcher?q=%C3%A4%20b"


def test_a_password_in_a_url_is_not_sent():
    assert Target.parse("http://me:secret@example.org/x").url == "http://example.org/x"


def test_redirects_may_be_relative():
    start = Target.parse("https://example.org/a/b?c")
    assert start.redirected("../d").url == "https://example.org/d"
    assert start.redirected("//example.net:81/").port == 81
    assert start.redirected("http://example.net/ü").url == "http://example.net/%C3%BC"


@pytest.mark.parametrize("location", ["file:///etc/passwd", "gopher://x/", "javascript:1"])
def test_redirects_leave_the_web_nowhere(location):
    with pytest.raises(TargetInvalid):
        Target.parse("https://example.org/").redirected(location)


def test_a_stand_in_is_asked_without_tls_and_with_the_same_host():
    assert Target.parse("https://example.org/x").over_plain_http().url == "http://example.org/x"
    assert Target.parse("https://example.org:443/x").over_plain_http().url == "http://example.org/x"
    other = Target.parse("https://example.org:8443/x").over_plain_http()
    assert other.url == "http://example.org:8443/x"
