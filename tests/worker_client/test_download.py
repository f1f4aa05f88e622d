"""What the downloader makes of each kind of answer, against a hostile server of our own."""

import logging
import shutil
import socket
import ssl
import subprocess
import threading
import time
from dataclasses import replace

import pycurl
import pytest

from laion_protocol import DropReason, Recipe, SourceKind
from tests.worker_client.image_server import BODY, ImageServer
from worker_client.pipeline.download import Downloader, DownloadSettings
from worker_client.samples import Dropped, Fetched, Pair

AGENT = "laion-worker/0.1 (+https://example.org/bot; bot@example.org)"


@pytest.fixture(scope="module")
def server():
    with ImageServer(files={"a.svg": b"<svg/>"}) as running:
        yield running


@pytest.fixture
def settings(server):
    return DownloadSettings(
        user_agent=AGENT,
        allow_private=frozenset({server.endpoint}),
        max_bytes=100_000,
        per_host=64,
        per_host_delay=0,
        timeout=1.0,
        connect_timeout=0.8,
        retry_delay=0.05,
        host_failures=1000,
    )


def pair(url):
    return Pair(url, "a text", "https://example.org/page")


def outcomes(settings, *urls):
    """URL -> bytes of the body, or the reason."""
    with Downloader(settings) as downloader:
        results = list(downloader.fetch(map(pair, urls), threading.Event()))
    assert len(results) == len(urls)
    return {
        item.pair.url: item.body if isinstance(item, Fetched) else item.reason for item in results
    }


def outcome(settings, url):
    return outcomes(settings, url)[url]


GOOD = ["/ok/1", "/gzip", "/untyped", "/typed?application/octet-stream", "/typed?jpg", "/early",
        "/typed?binary/octet-stream", "/typed?IMAGE/JPEG; charset=x", "/chain/5", "/to?/ok/1",
        "/to?/ok/ü", "/robots?all", "/robots?otherbot: noai", "/tdm/0", "/once/500/1",
        "/once/503/2?0", "/once/429/3?0"]  # fmt: skip
BAD = {
    "/status/404": DropReason.HTTP_STATUS,
    "/status/204": DropReason.HTTP_STATUS,
    "/status/500": DropReason.HTTP_STATUS,
    "/status/302": DropReason.HTTP_STATUS,  # a redirect that leads nowhere
    "/once/429/4": DropReason.HTTP_STATUS,  # too many requests, and no word of when to come back
    "/once/503/5?3600": DropReason.HTTP_STATUS,  # come back in an hour: not within the deadline
    "/hang": DropReason.TIMEOUT,
    "/drip": DropReason.TIMEOUT,
    "/endless": DropReason.TOO_MANY_BYTES,
    "/announced": DropReason.TOO_MANY_BYTES,
    "/announced/absurd": DropReason.TOO_MANY_BYTES,
    "/bomb": DropReason.TOO_MANY_BYTES,
    "/short": DropReason.CONNECT,
    "/cut": DropReason.CONNECT,
    "/flood": DropReason.CONNECT,
    "/chain/6": DropReason.TOO_MANY_REDIRECTS,
    "/loop_/": DropReason.TOO_MANY_REDIRECTS,
    "/to?file:///etc/passwd": DropReason.URL_INVALID,
    "/to?gopher://127.0.0.1/": DropReason.URL_INVALID,
    "/to?http://10.0.0.1/x.jpg": DropReason.ADDRESS_REFUSED,
    "/to?http://127.0.0.1:1/x.jpg": DropReason.ADDRESS_REFUSED,
    "/to?http://2130706433/": DropReason.ADDRESS_REFUSED,
    "/to?//localhost/": DropReason.ADDRESS_REFUSED,
    "/html": DropReason.NOT_AN_IMAGE,
    "/typed?application/json": DropReason.NOT_AN_IMAGE,
    "/typed?video/mp4": DropReason.NOT_AN_IMAGE,
    "/robots?noai": DropReason.OPTED_OUT,
    "/robots?nofollow&noimageindex": DropReason.OPTED_OUT,
    "/robots?laion-worker: noai": DropReason.OPTED_OUT,
    "/tdm/1": DropReason.OPTED_OUT,
}


@pytest.fixture(scope="module")
def every_answer(server):
    """All of the above in one run, so that the slow ones are waited for together."""
    settings = DownloadSettings(
        user_agent=AGENT,
        allow_private=frozenset({server.endpoint}),
        max_bytes=100_000,
        per_host=64,
        per_host_delay=0,
        timeout=3.0,
        retry_delay=0.05,
        host_failures=1000,
    )
    started = time.monotonic()
    found = outcomes(settings, *(server.url(path) for path in [*GOOD, *BAD]))
    assert time.monotonic() - started < 20
    return found


@pytest.mark.parametrize("path", GOOD)
def test_a_picture_arrives_whole(server, every_answer, path):
    assert every_answer[server.url(path)] == BODY


@pytest.mark.parametrize("path", BAD)
def test_every_other_answer_has_its_reason(server, every_answer, path):
    assert every_answer[server.url(path)] is BAD[path]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1/x.jpg", DropReason.ADDRESS_REFUSED),
        ("http://2130706433/", DropReason.ADDRESS_REFUSED),
        ("http://0x7f.1/", DropReason.ADDRESS_REFUSED),
        ("http://0177.0.0.1/", DropReason.ADDRESS_REFUSED),
        ("http://[::1]/", DropReason.ADDRESS_REFUSED),
        ("http://[::ffff:10.0.0.1]/", DropReason.ADDRESS_REFUSED),
        ("http://169.254.169.254/latest/meta-data/", DropReason.ADDRESS_REFUSED),
        ("http://localhost/", DropReason.ADDRESS_REFUSED),
        ("http://8.8.8.8:8080/", DropReason.ADDRESS_REFUSED),
        ("ftp://example.org/x.jpg", DropReason.URL_INVALID),
        ("http://exa mple.org/", DropReason.URL_INVALID),
        ("not a url", DropReason.URL_INVALID),
    ],
)
def test_what_must_not_be_asked_is_not(settings, url, reason):
    assert outcome(settings, url) is reason


def test_only_the_allowed_endpoint_is_opened(server, settings):
    with ImageServer() as other:
        found = outcomes(settings, server.url("/ok/1"), other.url("/ok/1"))
        assert found[server.url("/ok/1")] == BODY
        assert found[other.url("/ok/1")] is DropReason.ADDRESS_REFUSED
        assert other.seen == []


def test_nothing_private_is_opened_without_the_option(server, settings):
    closed = replace(settings, allow_private=frozenset())
    before = len(server.seen)
    assert outcome(closed, server.url("/ok/1")) is DropReason.ADDRESS_REFUSED
    assert len(server.seen) == before


def test_the_guard_judges_the_address_that_a_name_resolves_to(server, settings):
    name = f"rebind.test:{server.port}"
    resolved = replace(settings, resolve=(f"{name}:127.0.0.1",))
    url = f"http://{name}/ok/1"
    assert outcome(resolved, url) == BODY
    closed = replace(resolved, allow_private=frozenset())
    assert outcome(closed, url) is DropReason.ADDRESS_REFUSED


def test_a_name_that_turns_private_between_two_requests_is_refused_the_second_time(
    server, settings
):
    """DNS rebinding: the first answer is good, then the name points into the local network."""
    other = ImageServer()
    with other:
        names = (f"rebind.test:{server.port}:127.0.0.1", f"rebind.test:{other.port}:127.0.0.1")
        resolved = replace(settings, resolve=names)
        url = f"http://rebind.test:{server.port}/to?http://rebind.test:{other.port}/ok/1"
        assert outcome(resolved, url) is DropReason.ADDRESS_REFUSED
        assert other.seen == []


def test_a_public_address_that_cannot_be_reached_is_not_called_refused(server, settings):
    """One address refused, one allowed and dead: the reason is the connection."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    dead = replace(
        settings,
        allow_private=frozenset({("127.0.0.1", port)}),
        resolve=(f"two.test:{port}:127.0.0.1,10.0.0.1",),
    )
    assert outcome(dead, f"http://two.test:{port}/") is DropReason.CONNECT


def test_a_refused_port_is_asked_twice_and_dropped(server, settings):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = unused.getsockname()
    dead = replace(settings, allow_private=frozenset({endpoint}))
    assert outcome(dead, f"http://127.0.0.1:{endpoint[1]}/x") is DropReason.CONNECT


def test_a_host_that_never_accepts_is_a_connect_failure(server, settings):
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        endpoint = full.getsockname()
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:  # a full backlog: further SYNs get no answer
            filler.setblocking(False)
            filler.connect_ex(endpoint)
        slow = replace(settings, allow_private=frozenset({endpoint}), connect_timeout=0.3)
        assert outcome(slow, f"http://127.0.0.1:{endpoint[1]}/x") is DropReason.CONNECT
        for filler in fillers:
            filler.close()


def test_a_name_that_does_not_exist_is_a_dns_failure(settings):
    found = outcome(replace(settings, timeout=8.0), "http://no-such-host.invalid/x.jpg")
    assert found is DropReason.DNS


def test_five_failures_of_a_host_spare_it_the_rest(server, settings):
    """The rest are dropped without a request."""
    careful = replace(settings, host_failures=5, per_host=1, connect_to=server.endpoint)
    before = len(server.seen)
    found = outcomes(careful, *(f"http://broken.test/cut?{n}" for n in range(40)))
    assert set(found.values()) == {DropReason.CONNECT}
    assert 5 <= len(server.seen) - before <= 8


def test_a_failing_host_is_remembered_by_the_next_run(server, settings):
    careful = replace(settings, host_failures=1, connect_to=server.endpoint)
    with Downloader(careful) as downloader:
        first = list(downloader.fetch([pair("http://broken.test/cut")], threading.Event()))
        second = list(downloader.fetch([pair("http://broken.test/ok/1")], threading.Event()))
        third = list(downloader.fetch([pair("http://well.test/ok/1")], threading.Event()))
    assert [item.reason for item in first + second] == [DropReason.CONNECT] * 2
    assert isinstance(third[0], Fetched)


def test_a_retry_happens_once(server, settings):
    before = len(server.seen)
    outcome(settings, server.url("/status/503"))
    outcome(settings, server.url("/status/404"))
    paths = [seen.path for seen in server.seen[before:]]
    assert paths == ["/status/503", "/status/503", "/status/404"]


def test_a_slow_body_is_cut_before_the_deadline(server, settings):
    slow = replace(settings, timeout=30.0, low_speed=1000, low_speed_time=1)
    started = time.monotonic()
    assert outcome(slow, server.url("/drip")) is DropReason.TIMEOUT
    assert time.monotonic() - started < 8


def test_the_deadline_holds_for_all_redirects_together(settings):
    with ImageServer(latency=0.3) as slow:
        allowed = replace(settings, allow_private=frozenset({slow.endpoint}), timeout=0.8)
        assert outcome(allowed, slow.url("/chain/2"))  # three answers of 0.3 s would be 0.9 s
        assert outcome(allowed, slow.url("/chain/5")) is DropReason.TIMEOUT
        assert outcome(allowed, slow.url("/chain/1")) == BODY


def test_opt_outs_are_ignored_where_the_recipe_says_so(server, settings):
    bold = replace(settings, honour_opt_out=False)
    assert outcome(bold, server.url("/robots?noai")) == BODY


def test_too_small_a_body_is_dropped(server, settings):
    least = replace(settings, min_bytes=len(BODY) + 1)
    assert outcome(least, server.url("/ok/1")) is DropReason.TOO_FEW_BYTES
    least = replace(settings, min_bytes=len(BODY))
    assert outcome(least, server.url("/ok/1")) == BODY


def test_the_cap_is_inclusive(server, settings):
    assert outcome(replace(settings, max_bytes=len(BODY)), server.url("/ok/1")) == BODY
    less = replace(settings, max_bytes=len(BODY) - 1)
    assert outcome(less, server.url("/ok/1")) is DropReason.TOO_MANY_BYTES
    assert outcome(less, server.url("/gzip")) is DropReason.TOO_MANY_BYTES


def test_requests_say_who_asks_and_nothing_about_the_volunteer(server, settings, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    url = f"http://me:secret@127.0.0.1:{server.port}/chain/1"
    assert outcome(settings, url) == BODY
    for seen in server.seen[-2:]:
        assert seen.headers["user-agent"] == AGENT
        assert seen.headers["accept"].startswith("image/jpeg,image/png,image/webp,image/gif,")
        assert seen.headers["accept-encoding"] == "identity"
        unwanted = {"referer", "cookie", "authorization", "proxy-authorization", "from"}
        assert not unwanted & seen.headers.keys()


def test_a_stand_in_gets_every_request_and_redirect_under_its_own_name(server, settings):
    staged = replace(settings, connect_to=server.endpoint)
    url = "https://shop.test/to?https://cdn.test/ok/7"
    assert outcome(staged, url) == BODY
    assert [(seen.host, seen.path) for seen in server.seen[-2:]] == [
        ("shop.test", "/to?https://cdn.test/ok/7"),
        ("cdn.test", "/ok/7"),
    ]


def test_a_stand_in_does_not_weaken_the_guard(server, settings):
    staged = replace(settings, connect_to=server.endpoint)
    assert outcome(staged, "http://10.0.0.1/ok/1") is DropReason.ADDRESS_REFUSED
    assert outcome(staged, "http://shop.test:8080/ok/1") is DropReason.ADDRESS_REFUSED
    url = "http://shop.test/to?http://169.254.169.254/ok/1"
    assert outcome(staged, url) is DropReason.ADDRESS_REFUSED
    closed = replace(staged, allow_private=frozenset())
    assert outcome(closed, "http://shop.test/ok/1") is DropReason.ADDRESS_REFUSED


def test_a_picture_that_an_earlier_stage_dropped_passes_through(settings):
    dropped = Dropped(pair("http://example.org/x"), DropReason.TEXT_TOO_SHORT)
    with Downloader(settings) as downloader:
        assert list(downloader.fetch([dropped], threading.Event())) == [dropped]


def test_the_recipe_sets_the_bounds():
    recipe = Recipe(kind=SourceKind.WAT, min_image_bytes=1, max_image_bytes=2, honour_opt_out=False)
    made = DownloadSettings.for_recipe(recipe, user_agent=AGENT)
    assert (made.min_bytes, made.max_bytes, made.honour_opt_out) == (1, 2, False)
    assert made.formats == recipe.formats


@pytest.mark.parametrize(
    "change", [{"user_agent": " "}, {"user_agent": "a\r\nX: y"}, {"timeout": 0}]
)
def test_settings_that_cannot_work_are_refused(settings, change):
    with pytest.raises(ValueError, match="must"):
        replace(settings, **change)


def test_a_missing_certificate_bundle_is_named(settings, tmp_path):
    with pytest.raises(FileNotFoundError, match="ca_file"):
        Downloader(replace(settings, ca_file=tmp_path / "none.pem"))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate for 127.0.0.1, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl program: TLS is not tested")
    folder = tmp_path_factory.mktemp("tls")
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
               "-nodes", "-days", "2", "-subj", "/CN=test", "-addext",
               "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out",
               folder / "cert.pem"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


def test_tls_is_verified(settings, certificate, caplog):
    caplog.set_level(logging.CRITICAL, "asyncio")  # the server grumbles about the handshake
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with ImageServer(tls=context) as secure:
        open_ = replace(
            settings,
            allow_private=frozenset({secure.endpoint}),
            resolve=(f"other.test:{secure.port}:127.0.0.1",),
            timeout=5.0,
        )
        assert outcome(open_, secure.url("/ok/1")) is DropReason.TLS
        trusting = replace(open_, ca_file=certificate[0])
        assert outcome(trusting, secure.url("/ok/1")) == BODY
        assert outcome(trusting, secure.url("/ok/1", "other.test")) is DropReason.TLS


def test_libcurl_can_do_what_the_guard_relies_on():
    """A libcurl without threads for look-ups would block all downloads on one name."""
    assert pycurl.version_info()[4] & pycurl.VERSION_ASYNCHDNS
