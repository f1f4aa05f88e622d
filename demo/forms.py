"""The many ways in which a page may show a picture that matches its text. All of these are kept.

Each function writes one picture onto a desk and returns the `Snippet`. `FORMS` lists them.
"""

from collections.abc import Callable
from html import escape
from urllib.parse import quote

from .desk import Address, Desk, img, tells
from .resources import Resource, Serve
from .truth import Snippet, Truth

#: what pages put into `src` until their script has run
PLACEHOLDER = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///ywAAAAAAQABAAACAUwAOw=="

Form = Callable[[Desk], Snippet]


def _snippet(markup: str, url: str, picture: Resource, *, in_wat: bool = True) -> Snippet:
    pairs = (Truth(url, tells(picture)),)
    return Snippet(markup, pairs, None if in_wat else (), ((url, picture),))


def _fresh(desk: Desk, *, host: str = "") -> tuple[Address, Resource, str]:
    picture = desk.picture()
    return desk.address(picture.format, host=host), picture, tells(picture)


def rooted(desk: Desk) -> Snippet:
    """`/a/b.jpg`."""
    at, picture, text = _fresh(desk)
    return _snippet(img(at.rooted, text), at.url, picture)


def relative(desk: Desk) -> Snippet:
    """`b.jpg`, in single quotes."""
    at, picture, text = _fresh(desk)
    return _snippet(f"<img alt='{text}' src='{at.name}' width=160>", at.url, picture)


def parent(desk: Desk) -> Snippet:
    """`../a/b.jpg`."""
    at, picture, text = _fresh(desk)
    return _snippet(img(at.parent, text), at.url, picture)


def schemeless(desk: Desk) -> Snippet:
    """`//host/a/b.jpg`, on another host."""
    at, picture, text = _fresh(desk, host="cdn.localhost")
    return _snippet(img(at.schemeless, text), at.url, picture)


def absolute(desk: Desk) -> Snippet:
    """A whole URL, with a fragment that is not part of what is fetched."""
    at, picture, text = _fresh(desk, host="cdn.localhost")
    return _snippet(img(f"{at.url}#top", text), at.url, picture)


def shouting(desk: Desk) -> Snippet:
    """Upper-case tag and attributes, no quotes round the URL, line breaks between."""
    at, picture, text = _fresh(desk)
    return _snippet(f'<IMG\n  SRC={at.rooted}\n  ALT="{text}"\n>', at.url, picture)


def blanks(desk: Desk) -> Snippet:
    """Blanks round the URL, line breaks and tabs within the text."""
    at, picture, text = _fresh(desk)
    loose = "\n\t " + text.replace(" ", "\n    ", 1) + "  "
    return _snippet(f'<img src=" {at.rooted} " alt="{loose}">', at.url, picture)


def entities(desk: Desk) -> Snippet:
    """Text and URL with character references, one of them without its semicolon in the URL."""
    picture = desk.picture()
    at = desk.address(f"php?size=2&copy=3&kind={picture.format}", stem="show")
    text = "".join(f"&#{ord(c)};" if i % 3 == 0 else c for i, c in enumerate(tells(picture)))
    src = at.rooted.replace("&kind", "&amp;kind")
    return _snippet(f'<img src="{src}" alt="{text}">', at.url, picture)


def first_wins(desk: Desk) -> Snippet:
    """Two `alt`: the first one counts."""
    at, picture, text = _fresh(desk)
    return _snippet(f'<img src="{at.rooted}" alt="{text}" alt="not this one">', at.url, picture)


def foreign_name(desk: Desk) -> Snippet:
    """A file name in the page's own letters: the URL is right only if the charset is understood."""
    picture = desk.picture()
    at = desk.address(picture.format, stem=desk.native_word)
    url = quote(at.url, safe=":/")
    return _snippet(img(at.rooted, tells(picture)), url, picture)


def space_in_name(desk: Desk) -> Snippet:
    """A blank in the file name."""
    picture = desk.picture()
    at = desk.address(picture.format, stem="my picture")
    return _snippet(img(at.rooted, tells(picture)), quote(at.url, safe=":/"), picture)


def noscript(desk: Desk) -> Snippet:
    """Inside `<noscript>`, where lazy pages keep the truth."""
    at, picture, text = _fresh(desk)
    return _snippet(f"<noscript>{img(at.rooted, text)}</noscript>", at.url, picture)


def thumbnail(desk: Desk) -> Snippet:
    """Inside a link to a larger picture, which nobody asked for."""
    at, picture, text = _fresh(desk)
    large = desk.address("jpg", stem="large")
    plain = _snippet(f'<a href="{large.rooted}">{img(at.rooted, text)}</a>', at.url, picture)
    return Snippet(plain.markup, plain.pairs, None, plain.resources, (large.url,))


def srcset(desk: Desk) -> Snippet:
    """No `src`, only `srcset`."""
    at, picture, text = _fresh(desk)
    markup = f'<img srcset="{at.rooted} 1x" alt="{text}">'
    return _snippet(markup, at.url, picture, in_wat=False)


def largest_of_srcset(desk: Desk) -> Snippet:
    """Three sizes in `srcset`: the largest is taken, the others are not asked for."""
    at, picture, text = _fresh(desk)
    small, middle = desk.address("jpg", stem="small"), desk.address("jpg", stem="middle")
    srcset = f"{small.name} 320w, {at.name} 1280w,{middle.rooted} 640w"
    plain = _snippet(f'<img alt="{text}" srcset="{srcset}">', at.url, picture, in_wat=False)
    return Snippet(plain.markup, plain.pairs, (), plain.resources, (small.url, middle.url))


def figure(desk: Desk) -> Snippet:
    """No `alt`, but a caption below the picture."""
    at, picture, text = _fresh(desk)
    caption = f"<figcaption>\n  {text}</figcaption>"
    markup = f'<figure><p><img src="{at.rooted}"></p>{caption}</figure>'
    return _snippet(markup, at.url, picture, in_wat=False)


def lazy(desk: Desk) -> Snippet:
    """A placeholder in `src`, the picture in `data-src`."""
    at, picture, text = _fresh(desk)
    markup = f'<img class="lazy" src="{PLACEHOLDER}" data-src="{at.rooted}" alt="{text}">'
    return _snippet(markup, at.url, picture, in_wat=False)


def picture_element(desk: Desk) -> Snippet:
    """`<picture>` whose `<img>` has no `src` of its own."""
    at, picture, text = _fresh(desk)
    markup = f'<picture><source srcset="{escape(at.rooted)}"><img alt="{text}"></picture>'
    return _snippet(markup, at.url, picture, in_wat=False)


def redirected(desk: Desk) -> Snippet:
    """Two redirects, the second one relative, before the picture comes."""
    first, picture, text = _fresh(desk)
    second, third = (desk.address(picture.format, host="cdn.localhost") for _ in range(2))
    hop = Resource(Serve.REDIRECT, picture.scene, location=second.url)
    skip = Resource(Serve.REDIRECT, picture.scene, location=third.rooted)
    resources = ((first.url, hop), (second.url, skip), (third.url, picture))
    return Snippet(img(first.rooted, text), (Truth(first.url, text),), None, resources)


def disguised(desk: Desk) -> Snippet:
    """Served with the media type of another image format."""
    picture = desk.picture(Serve.DISGUISED)
    at = desk.address(picture.format)
    return _snippet(img(at.rooted, tells(picture)), at.url, picture)


FORMS: tuple[Form, ...] = (
    rooted,
    relative,
    parent,
    schemeless,
    absolute,
    shouting,
    blanks,
    entities,
    first_wins,
    foreign_name,
    space_in_name,
    noscript,
    thumbnail,
    srcset,
    largest_of_srcset,
    figure,
    lazy,
    picture_element,
    redirected,
    disguised,
)
