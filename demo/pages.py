"""A page of the miniature web: its markup, in one of the web's charsets."""

from dataclasses import dataclass
from enum import Enum, auto
from html import escape

from .desk import Desk
from .truth import Snippet, Truth


class Declared(Enum):
    """Where a page says in which charset it is written."""

    HEADER = auto()
    META = auto()
    HTTP_EQUIV = auto()
    BOM = auto()
    NOWHERE = auto()


@dataclass(frozen=True, slots=True)
class Charset:
    """A way to write text as bytes, and words of a language that uses it."""

    label: str  #: as pages call it
    codec: str  #: what Python calls the encoding that the WHATWG standard means by that label
    declared: Declared
    word: str
    sentence: str


CHARSETS: tuple[Charset, ...] = (
    Charset("utf-8", "utf-8", Declared.HEADER, "œuvre", "Une photo vaut mille mots, dit-on."),
    Charset("utf-8", "utf-8", Declared.META, "Gemälde", "Ein Bild sagt mehr als tausend Worte."),
    Charset("utf-8", "utf-8", Declared.NOWHERE, "絵画", "百聞は一見にしかずと言います。"),
    Charset(
        "windows-1251", "cp1251", Declared.HEADER, "рисунок", "Лучше один раз увидеть, чем слышать."
    ),
    Charset(
        "windows-1251", "cp1251", Declared.META, "картина", "Эта картина висит в нашей галерее."
    ),
    # what the header calls iso-8859-1 is read as windows-1252 by every browser
    Charset(
        "iso-8859-1", "cp1252", Declared.HEADER, "tableau–été", "L’été, la galerie est ouverte."
    ),
    Charset("Shift_JIS", "cp932", Declared.HTTP_EQUIV, "写真", "美しい写真を集めました。"),
    Charset("gb2312", "gb18030", Declared.META, "图片", "这里有很多美丽的图片。"),
    Charset("utf-16", "utf-16-le", Declared.BOM, "εικόνα", "Μία εικόνα αξίζει χίλιες λέξεις."),
)

LICENSES = (
    "",
    "",
    "",
    "https://creativecommons.org/licenses/by/4.0/",
    "",
    "",
    "https://creativecommons.org/publicdomain/zero/1.0/",
)


@dataclass(frozen=True, slots=True)
class Page:
    """One page as it was crawled, and the truth about it."""

    url: str
    content_type: str
    body: bytes
    html: str  #: the body, decoded as a right reader would
    license: str  #: the Creative Commons licence it links to, or ""
    snippets: tuple[Snippet, ...]

    @property
    def pairs(self) -> tuple[Truth, ...]:
        """The pairs that its WARC record must yield, in order."""
        return tuple(pair for snippet in self.snippets for pair in snippet.pairs)

    @property
    def pairs_in_wat(self) -> tuple[Truth, ...]:
        """The pairs that its WAT record must yield, in order."""
        return tuple(pair for snippet in self.snippets for pair in snippet.pairs_in_wat)


def write_page(number: int, desk: Desk, charset: Charset, snippets: tuple[Snippet, ...]) -> Page:
    """The page that shows these snippets, which were written on that desk.

    Every fifth page lives elsewhere than its relative URLs say, and has a `<base>` for it.
    """
    name = f"page{number}.html"
    if number % 5 == 4:
        url = f"http://archive.localhost:{desk.web_port}/old/pages/{name}"
        base = f'<base href="{desk.origin}{desk.directory}">'
    else:
        url, base = f"{desk.origin}{desk.directory}{name}", ""
    license = LICENSES[number % len(LICENSES)]
    head, content_type, mark = base, "text/html", ""
    match charset.declared:
        case Declared.HEADER:
            content_type = f"text/html; charset={charset.label}"
        case Declared.META:
            head = f'<meta charset="{charset.label}">{base}'
        case Declared.HTTP_EQUIV:
            value = f"text/html; charset={charset.label}"
            head = f'<meta http-equiv="Content-Type" content="{value}">{base}'
        case Declared.BOM:
            mark = "\ufeff"
        case Declared.NOWHERE:
            pass
    markup = _html(number, head, charset, license, snippets).encode(
        charset.codec, "xmlcharrefreplace"
    )
    body, html = mark.encode(charset.codec) + markup, markup.decode(charset.codec)
    return Page(url, content_type, body, html, license, snippets)


def _html(
    number: int, head: str, charset: Charset, license: str, snippets: tuple[Snippet, ...]
) -> str:
    paragraph = f"<p>{escape(charset.sentence)}</p>"
    blocks = "\n".join(f"<div>{snippet.markup}</div>\n{paragraph * 4}" for snippet in snippets)
    footer = f'<a rel="license" href="{license}">CC</a>' if license else "All rights reserved"
    return (
        f"<!DOCTYPE html>\n<html><head>{head}<title>{charset.word} {number}</title>"
        f'<link rel="stylesheet" href="/style.css"></head>\n<body>\n{paragraph * 10}\n{blocks}\n'
        f'<footer>{footer} <a href="page{number + 1}.html">next</a></footer>\n</body></html>\n'
    )
