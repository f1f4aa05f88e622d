"""`guess`: the encoding of a page that declares none and is no UTF-8, by the letters it would show.

Covers the legacy encodings that such pages of a web crawl really are in: Cyrillic, Japanese,
Chinese, Korean, Greek, Hebrew, Arabic. Everything else is Western.
"""

import re

import webencodings

#: What the WHATWG standard falls back to for the Western world.
FALLBACK = "windows-1252"
#: Least share of the text beyond ASCII that must look like the script, weighted by its commonest
#: letters. Real texts reach 0.7 and more, a wrong reading stays below 0.3.
LEAST_SCORE = 0.5

_TAGS = re.compile(rb"<[^<>]*>")
_HIGH = re.compile(rb"[\x80-\xff]")
_RUN = re.compile(rb"[\x80-\xff]{2,}")
_KANA = re.compile("[\u3041-\u3093\u30a1-\u30f6\u30fc]")
_HAN = re.compile("[\u4e00-\u9fff\u3001\u3002\uff0c]")
_HANGUL = re.compile("[\uac00-\ud7a3]")
#: The commonest characters of written Chinese in both scripts; a wrong reading hardly has them.
_COMMON_HAN = re.compile(
    "[的一是不了在人有我他这這个個们們中来來上大为為和国國地到以说說时時要就出会會]"
)
#: encoding, its letters, and the commonest of them: about half of any text in that script
_ALPHABETS = [
    ("windows-1251", "\u0400-\u045f\u0490\u0491", "оеаинтсрвлоі"),
    ("koi8-u", "\u0400-\u045f\u0490\u0491", "оеаинтсрвлоі"),
    ("windows-1253", "\u0370-\u03ff", "αοιετσνρη"),
    ("windows-1255", "\u05d0-\u05ea", "יולאהרתמב"),
    ("windows-1256", "\u0621-\u064a", "اليمونرتب"),
]


def guess(body: bytes) -> str:
    """The likeliest encoding of bytes that are no UTF-8; `FALLBACK` when none is likely."""
    text = _TAGS.sub(b" ", body)
    if not _HIGH.search(text):
        text = body  # nothing but attributes to go by
    scores = {
        "shift_jis": _japanese(text, "shift_jis"),
        "euc-jp": _japanese(text, "euc-jp"),
        "gbk": _chinese(text, "gbk"),
        "big5": _chinese(text, "big5"),
        "euc-kr": _share(_HANGUL, _read(text, "euc-kr")),
    }
    # Letters of another alphabet stand together; accents in a Latin text stand alone.
    if sum(map(len, _RUN.findall(text))) > 0.6 * len(_HIGH.findall(text)):
        for name, letters, common in _ALPHABETS:
            read = _read(text, name)
            frequent = _share(re.compile(f"[{common}]"), read)
            scores[name] = _share(re.compile(f"[{letters}]"), read) * min(1.0, 1.6 * frequent)
    best = max(scores, key=lambda name: scores[name])
    return best if scores[best] >= LEAST_SCORE else FALLBACK


def _read(text: bytes, name: str) -> str:
    """`text` in that encoding; "" when more than a stray byte does not fit."""
    read: str = webencodings.lookup(name).codec_info.decode(text, "replace")[0]
    return "" if read.count("\ufffd") > 1 + len(text) // 1000 else read


def _share(letters: re.Pattern[str], read: str) -> float:
    """How much of the text beyond ASCII is such letters."""
    beyond = sum(character > "\x7f" for character in read)
    return len(letters.findall(read)) / beyond if beyond else 0.0


def _japanese(text: bytes, name: str) -> float:
    read = _read(text, name)
    kana = _share(_KANA, read)
    return kana + _share(_HAN, read) if kana > 0.15 else 0.0


def _chinese(text: bytes, name: str) -> float:
    read = _read(text, name)
    common = _share(_COMMON_HAN, read)
    return _share(_HAN, read) * min(1.0, 0.5 + 5 * common) if common > 0.02 else 0.0
