"""What a tracker may have a volunteer's machine read."""

import socket
import threading
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.worker_client.archive_server import Manners, serve
from tests.worker_client.archives import USER_AGENT, member, record
from worker_client.errors import trouble_of
from worker_client.pipeline.source import (
    Chunk,
    SourceMissing,
    SourceRefused,
    SourceUnavailable,
    open_chunk,
)
from worker_client.pipeline.source_guard import SourceGuard
from worker_client.tally import Tally

ARCHIVE = member(record(b"x", url="http://s.example/"))


def read(location: str, guard: SourceGuard | None) -> list[str]:
    with open_chunk(
        Chunk(location, 0, 1),
        Tally(),
        user_agent=USER_AGENT,
        stop=threading.Event(),
        patience=timedelta(seconds=0.5),
        first_pause=0.01,
        guard=guard,
    ) as reader:
        return [found.url for found in reader]


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


def opened(*urls: str) -> SourceGuard:
    return SourceGuard(frozenset(("127.0.0.1", port_of(url)) for url in urls))


def test_a_volunteers_own_url_is_read_wherever_it_is() -> None:
    with serve(Manners(ARCHIVE)) as url:
        assert read(url, None) == ["http://s.example/"]


def test_a_private_address_is_not_even_connected() -> None:
    manners = Manners(ARCHIVE)
    with serve(manners) as url:
        with pytest.raises(SourceRefused, match=f"--allow-private 127.0.0.1:{port_of(url)} ") as no:
            read(url, SourceGuard())
        assert trouble_of(no.value).failure_class == "job"
        other = frozenset({("127.0.0.1", 1)})
        with pytest.raises(SourceRefused):
            read(url, SourceGuard(other))
        assert not manners.requests
        assert read(url, opened(url)) == ["http://s.example/"]


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1/", "https://127.0.0.1/", "http://192.168.1.1/", "http://[::1]/",
        "http://169.254.169.254/latest/meta-data/", "http://8.8.8.8:22/", "http://0.0.0.0/",
        "http://[::ffff:10.0.0.1]/",
    ],
)  # fmt: skip
def test_what_is_not_the_public_web_is_refused(
    location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*args: object) -> socket.socket:
        raise AssertionError("it connects")

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(SourceRefused, match="--allow-private"):
        read(location, SourceGuard())


def test_a_name_is_judged_by_its_address_and_may_lead_elsewhere_from_another_network() -> None:
    manners = Manners(ARCHIVE)
    with serve(manners) as url:
        named = f"http://localhost:{port_of(url)}/a.warc.gz"
        with pytest.raises(SourceUnavailable, match=r"localhost leads to .*--allow-private") as no:
            read(named, SourceGuard())
        assert trouble_of(no.value).failure_class == "network"
        assert not manners.requests
        assert read(named, opened(url)) == ["http://s.example/"]


def test_a_name_that_changes_between_look_and_connect_gains_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = iter(["93.184.216.34", "127.0.0.1"])
    connected = []

    def resolve(host: str, port: int, **_: object) -> list:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    def connect(endpoint: tuple[str, int], *_: object) -> socket.socket:
        connected.append(endpoint)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(SourceUnavailable, match=r"rebind\.example leads to 127\.0\.0\.1:80"):
        read("http://rebind.example/a", SourceGuard())
    assert connected == [("93.184.216.34", 80)]


def test_a_redirect_is_judged_as_well() -> None:
    inner = Manners(ARCHIVE)
    with serve(inner) as url, serve(Manners(b"", redirect=url)) as outer:
        with pytest.raises(SourceRefused, match=str(port_of(url))):
            read(outer, opened(outer))
        assert not inner.requests
        assert read(outer, opened(outer, url)) == ["http://s.example/"]
    with (
        serve(Manners(b"", redirect="file:///etc/passwd")) as outer,
        pytest.raises(SourceMissing, match=r"not followed|302"),
    ):
        read(outer, opened(outer))


def test_no_proxy_of_the_environment_connects_in_our_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxy = Manners(ARCHIVE)
    with serve(proxy) as url:
        monkeypatch.setenv("http_proxy", url)
        monkeypatch.delenv("no_proxy", raising=False)
        with pytest.raises(SourceRefused):
            read("http://10.0.0.1/a.warc.gz", opened(url))
    assert not proxy.requests


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_file_is_read_only_from_the_directory_that_the_volunteer_named(
    tmp_path: Path, form: str
) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    for directory in (inside, outside):
        directory.mkdir()
        (directory / "a.warc").write_bytes(record(b"x", url="http://s.example/"))
    (inside / "link").symlink_to(outside / "a.warc")
    good = form.format(inside / "a.warc")
    with pytest.raises(SourceRefused, match="a tracker may not name; use --local-sources DIR"):
        read(good, SourceGuard())
    guard = SourceGuard(local_sources=inside)
    assert read(good, guard) == ["http://s.example/"]
    for bad in (outside / "a.warc", inside / "../out/a.warc", inside / "link", "/etc/passwd"):
        with pytest.raises(SourceRefused, match="outside the directory named by --local-sources"):
            read(form.format(bad), guard)


@pytest.mark.parametrize("location", ["ftp://s.example/a", "data:,x", "a.warc", "\0", "//h/a"])
def test_whatever_else_a_tracker_writes_is_no_way_to_the_disk(
    tmp_path: Path, location: str
) -> None:
    for guard in (SourceGuard(), SourceGuard(local_sources=tmp_path)):
        with pytest.raises(SourceRefused):
            read(location, guard)
