"""The screen: what is dropped before any download, and by which name."""

import pytest

from laion_protocol import DropReason, Recipe, SourceKind
from worker_client.pipeline.language import language_of
from worker_client.pipeline.screen import Screen
from worker_client.samples import Dropped, Pair

TEXT = "The old stone bridge over the river in the morning light"


def pair(url: str = "http://site.example/a.jpg", text: str = TEXT) -> Pair:
    return Pair(url, text, "http://site.example/", "", "img")


def screened(*pairs: Pair, **settings: object) -> list[Pair | DropReason]:
    recipe = Recipe(kind=SourceKind.WARC, **settings)  # type: ignore[arg-type]
    return [
        item.reason if isinstance(item, Dropped) else item for item in Screen(recipe).screen(pairs)
    ]


def reason(url: str = "http://site.example/a.jpg", text: str = TEXT, **settings: object) -> object:
    (item,) = screened(pair(url, text), **settings)
    return item if isinstance(item, DropReason) else None


@pytest.mark.parametrize(
    "url",
    ["", "a.jpg", "javascript:void(0)", "ftp://a.example/b.jpg", "http://", "http:///a.jpg",
     "http://a b.example/c.jpg", "http://a.example:x/b.jpg", "http://1.2.3.4.5/a.jpg",
     "blob:http://a.example/b", "http://a.example/b c.jpg", "HTTP://A.example/b.jpg"],
)  # fmt: skip
def test_what_is_no_finished_http_url_is_invalid(url: str) -> None:
    assert reason(url) is DropReason.URL_INVALID


def test_a_long_url_is_dropped() -> None:
    url = "http://site.example/" + "a" * 1980
    assert reason(url) is None
    assert reason(url + "a") is DropReason.URL_TOO_LONG


@pytest.mark.parametrize(
    ("path", "blocked"),
    [
        ("logo.svg", True),
        ("LOGO.SVG", True),
        ("logo%2Esvg", True),
        ("favicon.ico?v=2", True),
        ("a.svg.jpg", False),
        ("a.jpg?from=b.svg", False),
        ("picture.GIF", False),
        ("a.webp", False),
        ("svg", False),
        ("draw.svg/render", False),
    ],
)
def test_the_end_of_the_path_decides_what_is_blocked(path: str, blocked: bool) -> None:
    assert (reason(f"http://x.svg-host.example/{path}") is DropReason.URL_BLOCKED) == blocked


def test_a_text_shorter_than_the_recipes_least_is_dropped() -> None:
    assert reason(text="four") is DropReason.TEXT_TOO_SHORT
    assert reason(text="fiver") is None
    assert reason(text="四字五字六") is None


def test_a_long_text_is_cut_and_not_dropped() -> None:
    (item,) = screened(pair(text="bridge " * 10), max_text_chars=14)
    assert isinstance(item, Pair)
    assert item.text == "bridge bridge"


def test_the_same_url_and_text_pass_once() -> None:
    other_text, other_url = pair(text=TEXT + "!"), pair("http://site.example/b.jpg")
    items = screened(pair(), other_text, pair(), other_url, other_text)
    assert [item if isinstance(item, DropReason) else "passed" for item in items] == [
        "passed", "passed", DropReason.DUPLICATE_PAIR, "passed", DropReason.DUPLICATE_PAIR,
    ]  # fmt: skip


def test_texts_that_are_equal_after_the_cut_are_equal() -> None:
    items = screened(pair(text="bridge one"), pair(text="bridge two"), max_text_chars=7)
    assert items[1] is DropReason.DUPLICATE_PAIR


def test_only_the_recipes_languages_pass() -> None:
    german = "Die alte steinerne Brücke über den Fluss im Licht des Morgens"
    assert reason(text=german, languages=("en",)) is DropReason.LANGUAGE
    assert reason(text=TEXT, languages=("en",)) is None
    assert reason(text="IMG_20210304", languages=("en",)) is DropReason.LANGUAGE
    assert reason(text="IMG_20210304", languages=("en", "un")) is None


def test_passing_pairs_carry_their_language() -> None:
    (item,) = screened(pair())
    assert isinstance(item, Pair)
    assert item.language == "en"
    assert item == Pair(item.url, item.text, item.page_url, "", "img", "en")


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (TEXT, "en"),
        ("Старый каменный мост через реку в утреннем свете", "ru"),
        ("川にかかる古い石の橋の写真です", "ja"),
        ("河上的古老石桥在早晨的阳光下", "zh"),
        ("河上的古老石橋在早晨的陽光下，這是一張照片", "zh"),
        ("גשר האבן הישן מעל הנהר באור הבוקר של העיר העתיקה", "he"),
        ("DSC_0042.JPG", "un"),
        ("", "un"),
        ("\ufdd0\x00 not a character", "un"),
        ("é" * 50_000, "un"),
    ],
)
def test_languages_have_their_iso_codes(text: str, language: str) -> None:
    assert language_of(text) == language
