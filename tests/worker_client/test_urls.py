"""URLs are resolved as browsers resolve them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.worker_client.archives import DATA, needs_data
from worker_client.pipeline.srcset import largest
from worker_client.pipeline.urls import join, parse

BASE = parse("http://example.org/dir/page.html?q=1#top")


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        # the folder of the page, not `dirname` of its address
        ("img.jpg", "http://example.org/dir/img.jpg"),
        ("/img.jpg", "http://example.org/img.jpg"),
        ("../img.jpg", "http://example.org/img.jpg"),
        ("../../../img.jpg", "http://example.org/img.jpg"),
        ("./a/./b/../img.jpg", "http://example.org/dir/a/img.jpg"),
        ("?x=2", "http://example.org/dir/page.html?x=2"),
        ("//cdn.example/a.jpg", "http://cdn.example/a.jpg"),
        (r"\\cdn.example\a.jpg", "http://cdn.example/a.jpg"),
        ("https:/a.example/b.jpg", "https://a.example/b.jpg"),
        ("http:b.jpg", "http://example.org/dir/b.jpg"),
        ("  a.jpg\n", "http://example.org/dir/a.jpg"),
        ("a\n.j\tpg", "http://example.org/dir/a.jpg"),
        ("a.jpg#part", "http://example.org/dir/a.jpg"),
        ("a b.jpg", "http://example.org/dir/a%20b.jpg"),
        ("a%20b.jpg", "http://example.org/dir/a%20b.jpg"),
        ("ü.jpg?ü", "http://example.org/dir/%C3%BC.jpg?%C3%BC"),
        ("a.php?x=1&y=2&copy=3", "http://example.org/dir/a.php?x=1&y=2&copy=3"),
        ("HTTP://EXAMPLE.com:80/A", "http://example.com/A"),
        ("https://example.com:443", "https://example.com/"),
        ("https://example.com:8443/", "https://example.com:8443/"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://0x7f.1/", "http://127.0.0.1/"),
        ("http://[::1]/", "http://[::1]/"),
        ("mailto:a@b.example", None),
        ("javascript:void(0)", None),
        ("http://", None),
        ("http://a b.example/", None),
        ("http://a.example:99999/", None),
        ("http://1.2.3.4.5/", None),
    ],
)
def test_a_reference_becomes_the_address_that_a_browser_asks_for(
    reference: str, expected: str | None
) -> None:
    assert join(reference, BASE) == expected


def test_a_page_at_the_root_without_a_slash_is_a_base() -> None:
    assert join("img.jpg", parse("http://a.com")) == "http://a.com/img.jpg"


@given(st.text(max_size=60), st.sampled_from(["", "http://", "https://a.example/", "//", "/"]))
def test_no_text_breaks_it_and_its_result_is_final(text: str, prefix: str) -> None:
    joined = join(prefix + text, BASE)
    if joined is not None:
        assert joined.isascii()
        assert join(joined) == joined


def test_long_and_twisted_addresses_take_no_time() -> None:
    for hostile in ("a." * 10**5, "http://a.com/" + "%2e" * 10**5, "http://" + "a-" * 10**5 + "/",
                    "http://a.com/" + "../" * 10**5, "http://" + "9" * 10**5, "0x" * 10**5):  # fmt: skip # noqa: E501
        join(hostile, BASE)
        largest(hostile * 2)


@needs_data
@pytest.mark.parametrize("name", ["urltestdata.json", "ada_extra_urltestdata.json"])
def test_the_web_platform_tests_pass(name: str) -> None:
    """All http(s) cases; other schemes must give None."""
    failed = []
    for case in json.loads((DATA / "urls" / name).read_text()):
        if isinstance(case, str):
            continue
        base = parse(case["base"]) if case.get("base") else None
        if case.get("base") and base is None:
            continue  # a base of another scheme, which we never have
        href = case.get("href") or ""
        expected = href.partition("#")[0] if href.startswith(("http:", "https:")) else None
        if join(case["input"], base) != expected:
            failed.append((case["input"], case.get("base")))
    assert failed == []


@needs_data
def test_nearly_all_tests_of_host_names_pass() -> None:
    """The three that fail: joiners and Hebrew points in names that no registry sells."""
    passed = failed = 0
    for case in json.loads((DATA / "urls" / "toascii.json").read_text()):
        if isinstance(case, dict):
            url = parse(f"https://{case['input']}/x")
            right = (url.authority if url else None) == case["output"]
            passed, failed = passed + right, failed + (not right)
    assert (failed <= 3, passed >= 84) == (True, True)


@pytest.mark.parametrize(
    ("srcset", "expected"),
    [
        ("a.jpg", "a.jpg"),
        ("a.jpg 1x, b.jpg 2x", "b.jpg"),
        ("a.jpg 640w, b.jpg 1280w, c.jpg 320w", "b.jpg"),
        ("a.jpg 1.5x,b.jpg 1x", "a.jpg"),
        ("http://c.example/w_1,h_2/a.jpg 1x, http://c.example/w_2,h_4/a.jpg 2x",
         "http://c.example/w_2,h_4/a.jpg"),
        ("a.jpg, b.jpg 2x", "b.jpg"),
        ("data:image/gif;base64,AAAA 1x, a.jpg 0.5x", "a.jpg"),
        (" , ,\n a.jpg\t100w ,", "a.jpg"),
        ("a.jpg bogus(1, 2) 3x, b.jpg 2x", "a.jpg"),
        ("", ""),
        (",,,", ""),
    ],
)  # fmt: skip
def test_the_largest_of_a_srcset_wins(srcset: str, expected: str) -> None:
    assert largest(srcset) == expected
