"""The encoding of a page: BOM, header, meta, UTF-8, guess, in this order."""

import re

import pytest
import webencodings

from tests.worker_client.archives import DATA, needs_data
from worker_client.pipeline.charset import META_BYTES, decode, sniff

RUSSIAN = "Съешь же ещё этих мягких французских булок да выпей чаю, а потом иди домой. "
TEXTS = {
    "windows-1251": RUSSIAN * 5,
    "koi8-u": RUSSIAN * 5,
    "shift_jis": "これは日本語のページです。写真と説明があります。" * 5,
    "euc-jp": "これは日本語のページです。写真と説明があります。" * 5,
    "gbk": "这是一个中文的网页，上面有我们在北京的照片和说明，大家都来看了。" * 5,
    "big5": "這是一個中文的網頁，上面有我們在臺北的照片和說明，大家都來看了。" * 5,
    "euc-kr": "이것은 한국어로 된 웹 페이지입니다. 사진과 설명이 있습니다. " * 5,
    "windows-1253": "Αυτή είναι μια ελληνική σελίδα με φωτογραφίες και κείμενο. " * 5,
    "windows-1255": "זהו דף אינטרנט בעברית עם תמונות והסברים על המקום. " * 5,
    "windows-1256": "هذه صفحة عربية فيها صور كثيرة ونصوص عن المدينة القديمة. " * 5,
    "windows-1252": "Les élèves ont été reçus à l’église, à l’école, à l’étage. " * 5,
}


@pytest.mark.parametrize("name", TEXTS)
def test_undeclared_text_is_told_by_its_letters(name: str) -> None:
    body = b"<html><body><p>" + webencodings.encode(TEXTS[name], name) + b"</p>"
    assert sniff(body) == name
    assert TEXTS[name] in decode(body)


@pytest.mark.parametrize("name", TEXTS)
def test_undeclared_text_in_attributes_alone_is_told_too(name: str) -> None:
    assert sniff(b'<img alt="' + webencodings.encode(TEXTS[name], name) + b'">') == name


def test_a_byte_order_mark_beats_the_header_and_the_header_beats_meta() -> None:
    body = b"<meta charset=koi8-r>caf\xe9"
    assert decode(b"\xef\xbb\xbfcaf\xc3\xa9", "text/html; charset=windows-1251") == "café"
    assert decode("café".encode("utf-16"), "text/html; charset=utf-8") == "café"
    assert decode(body, 'text/html; Charset="ISO-8859-1"').endswith("café")
    assert sniff(body) == "koi8-r"


def test_labels_mean_what_browsers_mean_by_them() -> None:
    assert decode(b"it\x92s", "text/html; charset=iso-8859-1") == "it’s"
    assert sniff(b"<meta charset=GB2312>") == "gbk"
    assert sniff(b"<meta charset=utf-16>") == "utf-8"
    assert sniff(b"x", "text/html; charset=nonsense") == "windows-1252"
    assert decode(b"<img>", "text/html; charset=hz-gb-2312") == "\ufffd"


def test_meta_counts_only_where_it_is_markup() -> None:
    assert sniff(b"<!-- <meta charset=koi8-r> --><meta charset=big5>") == "big5"
    assert sniff(b'<p title="<meta charset=koi8-r>"><meta charset=big5>') == "big5"
    assert sniff(b'<meta content="text/html; charset=big5" http-equiv=content-type>') == "big5"
    assert sniff(b"<meta name=description content='charset=koi8-r'>") == "windows-1252"
    assert sniff(b" " * META_BYTES + b"<meta charset=big5>") == "windows-1252"


def test_a_page_cut_inside_a_character_is_still_utf8() -> None:
    assert decode("naïve 東京".encode()[:-1]) == "naïve 東\ufffd"


def test_hostile_bytes_take_no_time() -> None:
    for hostile in (b"<" * 10**6, b"<!--" * 10**5, b"<meta a" * 10**5, b"\xff<script" * 10**5,
                    b"<meta " + b"a=" * 10**5, b"<a " + b"'\"" * 10**5):  # fmt: skip
        decode(hostile)


@needs_data
def test_the_html5lib_encoding_tests_pass_but_four() -> None:
    """Two declare beyond 4096 bytes, one by a script, one in a tag that the file's end cuts."""
    passed, failed = 0, []
    for path in sorted(DATA.glob("html/html5lib-*.dat")):
        for case in re.split(rb"(?:^|\n)#data\n", path.read_bytes())[1:]:
            body, _, label = case.partition(b"\n#encoding\n")
            expected = webencodings.lookup(label.strip().decode()).name
            if sniff(body) == expected:
                passed += 1
            else:
                failed.append(body[:40])
    assert (passed, len(failed)) == (78, 4), failed
