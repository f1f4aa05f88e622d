"""What a page shows: one image with a text and an address for each `<img>` that has both."""

import sys
import time
from pathlib import Path

import pytest

from laion_protocol import Damage, SourceKind
from tests.worker_client.archives import DATA, needs_data, page, read, record, write
from worker_client.pipeline.charset import decode
from worker_client.pipeline.extract import extract
from worker_client.pipeline.html import Image, page_images
from worker_client.pipeline.html_process import HtmlProcess, PageBroken, ParserUnavailable
from worker_client.pipeline.licence import page_licence
from worker_client.pipeline.text import clean_text
from worker_client.pipeline.urls import join, parse
from worker_client.samples import Pair
from worker_client.tally import Tally

PAGE = "http://site.example/dir/page.html"
CASES = DATA.parent / "reference" / "bench" / "extraction_cases.py"


def images(html: str | bytes, content_type: str = "text/html") -> list[Image]:
    body = html if isinstance(html, bytes) else html.encode()
    return list(page_images(decode(body, content_type), PAGE))


def found(html: str | bytes, content_type: str = "text/html") -> list[tuple[str, str]]:
    """Address relative to the page's folder, and text."""
    folder = "http://site.example/dir/"
    return [(one.url.removeprefix(folder), one.text) for one in images(html, content_type)]


CYRILLIC = "Старый мост через реку"
FILLER = "<p>" + "Обычный текст об истории города, его улицах и мостах. " * 15 + "</p>"


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        pytest.param(f'<meta charset=windows-1251><img src=a.jpg alt="{CYRILLIC}">'
                     .encode("cp1251"),
                     "text/html", [("a.jpg", CYRILLIC)], id="charset by meta"),
        pytest.param(f'<img src=a.jpg alt="{CYRILLIC}">'.encode("cp1251"),
                     "text/html; charset=windows-1251", [("a.jpg", CYRILLIC)], id="by header"),
        pytest.param(f'{FILLER}<img src=a.jpg alt="{CYRILLIC}">'.encode("cp1251"),
                     "text/html", [("a.jpg", CYRILLIC)], id="by its letters"),
        pytest.param('<meta http-equiv=Content-Type content="text/html; charset=Shift_JIS">'
                     '<img src=a.jpg alt="古い橋の写真">'.encode("cp932"),
                     "text/html", [("a.jpg", "古い橋の写真")], id="by http-equiv"),
        pytest.param('<meta charset=gb2312><img src=a.jpg alt="河上的古桥">'.encode("gbk"),
                     "text/html", [("a.jpg", "河上的古桥")], id="gb2312"),
        pytest.param('<img src=a.jpg alt="Pont de l’Église – 橋">'.encode(),
                     "text/html", [("a.jpg", "Pont de l’Église – 橋")], id="utf-8 undeclared"),
        pytest.param(b'<meta charset=utf-8><img src=a.jpg alt="ch\xe2teau">',
                     "text/html; charset=latin1", [("a.jpg", "château")], id="header beats meta"),
        pytest.param(b"<img src=a.jpg alt='the bridge\x92s arch'>",
                     "text/html; charset=iso-8859-1", [("a.jpg", "the bridge’s arch")],
                     id="cp1252"),
        pytest.param('\ufeff<img src=a.jpg alt="Brücke">'.encode("utf-16-be"),
                     "text/html", [("a.jpg", "Brücke")], id="utf-16 by its mark"),
        pytest.param(b'<img src="a.php?w=1&amp;h=2&copy=3" alt="R&amp;B &#8211; caf&eacute; &lt;3"'
                     b">",
                     "text/html", [("a.php?w=1&h=2&copy=3", "R&B – café <3")], id="entities"),
        pytest.param(b"<IMG\nSRC=a.jpg ALT='over\n  two\tlines'/>",
                     "text/html", [("a.jpg", "over two lines")], id="sloppy markup"),
        pytest.param(b"<img src=a.jpg src=b.jpg alt=first alt=second>",
                     "text/html", [("a.jpg", "first")], id="first of two attributes"),
        pytest.param(b'<img alt="1 > 0" src=a.jpg>', "text/html", [("a.jpg", "1 > 0")], id="gt"),
        pytest.param(b"<!-- <img src=1 alt=1> --><script>'<img src=2 alt=2>'</script><title><img "
                     b"src=3 alt=3></title><textarea><img src=4 alt=4></textarea><template><img "
                     b"src=5 alt=5></template><style><img src=6 alt=6></style>"
                     b"<img src=a.jpg alt=7>",
                     "text/html", [("a.jpg", "7")], id="not markup"),
        pytest.param(b"<noscript><img src=a.jpg alt=fallback></noscript>",
                     "text/html", [("a.jpg", "fallback")], id="noscript"),
        pytest.param(b"<img src=a.jpg alt=whole><img src=b.jpg alt=cut",
                     "text/html", [("a.jpg", "whole")], id="cut tag"),
        pytest.param(b"<image src=a.jpg alt=alias>", "text/html", [("a.jpg", "alias")], id="image"),
        pytest.param(b"<p>\0<img src=a.jpg alt='nu\0l'>", "text/html", [("a.jpg", "nu\ufffdl")],
                     id="NUL"),
        pytest.param(b"</body></html><img src=a.jpg alt=late>", "text/html", [("a.jpg", "late")],
                     id="after the end"),
        pytest.param(b"<table><img src=a.jpg alt=out><tr><td><img src=b.jpg alt=in></table>",
                     "text/html", [("a.jpg", "out"), ("b.jpg", "in")], id="foster parent"),
        pytest.param(b"<div>" * 5000 + b"<img src=a.jpg alt=deep>", "text/html",
                     [("a.jpg", "deep")], id="deep"),
    ],
)  # fmt: skip
def test_pages_of_all_kinds(
    body: bytes, content_type: str, expected: list[tuple[str, str]]
) -> None:
    assert found(body, content_type) == expected


@pytest.mark.skipif(not CASES.exists(), reason="../shared/reference is absent")
def test_the_reference_cases_all_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    scope: dict[str, dict[str, tuple[bytes, str, list[tuple[str, str]]]]] = {}
    exec(compile(CASES.read_text(), str(CASES), "exec"), scope)
    assert len(scope["CASES"]) == 21
    for name, (body, content_type, expected) in scope["CASES"].items():
        wanted = [(join(src, parse(PAGE)), " ".join(alt.split())) for src, alt in expected]
        assert [(one.url, one.text) for one in images(body, content_type)] == wanted, name


# ── which address ────────────────────────────────────────────────────────────────────────────────

BLANK = "data:image/gif;base64,R0lGODlhAQABAAAAACw="


@pytest.mark.parametrize(
    ("markup", "address", "source"),
    [
        ("<img src=a.jpg srcset='b.jpg 2x' data-src=c.jpg alt=t>", "a.jpg", "img"),
        (f"<img src='{BLANK}' data-src=c.jpg alt=t>", "c.jpg", "lazy"),
        ("<img src='' data-original=c.jpg alt=t>", "c.jpg", "lazy"),
        ("<img data-lazy-src=c.jpg alt=t>", "c.jpg", "lazy"),
        ("<img src=/i/blank.gif data-src=c.jpg alt=t>", "c.jpg", "lazy"),
        ("<img src=/i/lazy_placeholder.png?v=1 data-src=c.jpg alt=t>", "c.jpg", "lazy"),
        ("<img src=/i/blank.gif alt=t>", "http://site.example/i/blank.gif", "img"),
        ("<img src=/blankets/red.jpg data-src=c.jpg alt=t>",
         "http://site.example/blankets/red.jpg", "img"),
        ("<img data-srcset='b.jpg 1x, c.jpg 2x' alt=t>", "c.jpg", "lazy"),
        ("<img srcset='b.jpg 300w, c.jpg 900w' alt=t>", "c.jpg", "srcset"),
        ("<img data-src='{\"json\": 1}' srcset='c.jpg 900w' alt=t>", "c.jpg", "srcset"),
        ("<picture><source srcset='b.webp 1x, c.webp 2x'><img alt=t></picture>",
         "c.webp", "picture"),
        ("<picture><source srcset=b.webp><img src=a.jpg alt=t></picture>", "a.jpg", "img"),
        ("<img src=javascript:void(0) alt=t>", "javascript:void(0)", "img"),
    ],
)  # fmt: skip
def test_the_best_address_is_taken(markup: str, address: str, source: str) -> None:
    (image,) = images(markup)
    assert (image.url.removeprefix("http://site.example/dir/"), image.source) == (address, source)


@pytest.mark.parametrize(
    "markup",
    [
        "<img src=a.jpg>",
        "<img src=a.jpg alt>",
        "<img src=a.jpg alt='  \n&nbsp;'>",
        "<img alt=t>",
        "<img src='  ' alt=t>",
        f"<img src='{BLANK}' alt=t>",
        f"<img src=' {BLANK.upper()}' srcset='{BLANK} 2x' alt=t>",
        "<video src=a.mp4 alt=t></video><input type=image src=a.jpg alt=t><a alt=t href=a.jpg>",
    ],
)
def test_no_text_or_no_address_is_no_pair(markup: str) -> None:
    assert images(markup) == []


def test_a_caption_stands_in_for_a_missing_alt() -> None:
    html = (
        "<figure><a><img src=a.jpg></a><figcaption>A <b>stone</b>\nbridge</figcaption></figure>"
        "<figure><img src=b.jpg alt=alt><figcaption>caption</figcaption></figure>"
        "<figure><img src=c.jpg></figure><figcaption>no figure</figcaption><img src=d.jpg>"
    )
    assert found(html) == [("a.jpg", "A stone bridge"), ("b.jpg", "alt")]


def test_the_first_base_counts_and_is_itself_relative_to_the_page() -> None:
    html = "<base target=_top><base href=../img/><base href=/no/><img src=a.jpg alt=t>"
    assert images(html)[0].url == "http://site.example/img/a.jpg"
    assert images("<base target=_top><img src=a.jpg alt=t>")[0].url == f"{PAGE[:-9]}a.jpg"
    assert images("<base href='mailto:x'><img src=a.jpg alt=t>")[0].url == f"{PAGE[:-9]}a.jpg"


def test_control_characters_do_not_reach_the_text() -> None:
    assert clean_text(" a\x07b\u00a0\u3000c\x1b[0m\ud83d ") == "ab c[0m"


# ── licence ──────────────────────────────────────────────────────────────────────────────────────


def test_a_licence_counts_for_images_above_it() -> None:
    html = (
        "<img src=a.jpg alt=t><a href=https://creativecommons.org/licenses/by/4.0/>CC</a>"
        "<img src=b.jpg alt=t>"
    )
    assert [one.licence for one in images(html)] == ["https://creativecommons.org/licenses/by/4.0/"] * 2  # fmt: skip # noqa: E501


def test_the_link_that_says_license_is_preferred() -> None:
    base = parse(PAGE)
    links = [
        ("https://creativecommons.org/", ""),
        ("https://evil.example/creativecommons.org/licenses/by/4.0/", "license"),
        ("//creativecommons.org/publicdomain/zero/1.0/", ""),
        ("HTTP://CreativeCommons.org/licenses/x", "license"),
        ("http://www.creativecommons.org/licenses/by-sa/3.0/deed.de#x", "nofollow License"),
    ]
    assert page_licence(links, base) == "http://www.creativecommons.org/licenses/by-sa/3.0/deed.de"
    assert page_licence(links[:3], base) == "http://creativecommons.org/publicdomain/zero/1.0/"
    assert page_licence(links[:2], base) == ""


# ── the parser's process ─────────────────────────────────────────────────────────────────────────


def test_a_page_that_takes_for_ever_costs_only_itself() -> None:
    endless = "<div>" * 300_000 + "<img src=a.jpg alt=t>"
    with HtmlProcess(page_seconds=1.0) as parser:
        assert parser.images("<img src=a.jpg alt=t>", PAGE)
        began = time.monotonic()
        with pytest.raises(PageBroken):
            parser.images(endless, PAGE)
        assert time.monotonic() - began < 20
        assert parser.images("<img src=b.jpg alt=t>", PAGE)[0].url.endswith("b.jpg")


def test_a_page_that_takes_all_memory_is_counted_and_the_next_one_is_read(tmp_path: Path) -> None:
    fonts = "".join(f"<font x{n}>" for n in range(4000))
    bomb = "<p>" + fonts + "<p>x" * 4000 + "<img src=a.jpg alt=t>"
    location = write(tmp_path, [page(bomb), page("<img src=a.jpg alt=t>")], "a.warc")
    tally = Tally()
    assert len(list(extract(read(location), SourceKind.WARC, tally))) == 1
    assert tally.damage == {Damage.PAGE_BROKEN: 1}
    assert (tally.pages, tally.pairs) == (2, 1)


def test_a_parser_that_cannot_start_is_no_broken_page(monkeypatch: pytest.MonkeyPatch) -> None:
    for executable in ("/bin/false", "/nowhere/python"):
        monkeypatch.setattr(sys, "executable", executable)
        with HtmlProcess() as parser, pytest.raises(ParserUnavailable):
            parser.images("<img src=a.jpg alt=t>", PAGE)


def test_a_page_without_an_image_starts_no_parser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a parser was started")

    monkeypatch.setattr(HtmlProcess, "images", refuse)
    location = write(tmp_path, [page("<p>text"), record(b"x", type="request")], "a.warc")
    tally = Tally()
    assert list(extract(read(location), SourceKind.WARC, tally)) == []
    assert tally.pages == 1


@needs_data
def test_saved_pages_of_real_sites_give_what_they_gave_before() -> None:
    """By where the address stood; the difference to the 366 alts in the pages is captions."""
    counts = {"img": 0, "lazy": 0, "srcset": 0, "picture": 0}
    for path in sorted(DATA.glob("html/*.html")):
        for image in images(path.read_bytes()):
            counts[image.source] += 1
    assert counts == {"img": 297, "lazy": 80, "srcset": 0, "picture": 0}


def test_pairs_carry_their_page(tmp_path: Path) -> None:
    location = write(tmp_path, [page("<img src=a.jpg alt='a bridge'>", url=PAGE)], "a.warc")
    (pair,) = extract(read(location), SourceKind.WARC, Tally())
    assert pair == Pair("http://site.example/dir/a.jpg", "a bridge", PAGE)
