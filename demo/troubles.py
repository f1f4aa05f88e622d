"""What else stands on pages: wrong, worthless and hostile pictures and texts, each with its fate.

Each function writes one trouble onto a desk and returns the `Snippet`. `COMMON` are met on every
few pages, `SLOW` cost the worker a whole transfer deadline, so a site holds only a handful.
"""

from collections.abc import Callable
from html import escape

from demo.clip.pictures import caption
from laion_protocol import DropReason

from .desk import Desk, img, tells
from .resources import Resource, Serve
from .truth import Snippet, Truth

Trouble = Callable[[Desk], Snippet]

SLOW_HOST = "slow.localhost"

HOSTILE_TEXTS: tuple[str, ...] = (
    "<script>alert('shard')</script><b>bold</b>",
    "@everyone @here <@&1234567890> free pictures",
    "\u202egpj.elif ruoy \u2066override\u2069",
    "'; DROP TABLE samples; -- \" OR 1=1",
    "😀🚀🌍🎨📷 😀🚀🌍🎨📷",
    "мы продаём зелёные квадраты и треугольники",
    "赤い丸と青い四角の写真です",
    "‮مرحبا بالعالم الصورة الجميلة",
    '=HYPERLINK("http://evil.invalid","click")',
    "../../../../etc/passwd %00 %2e%2e%2f {{7*7}} ${jndi:ldap://x}",
    "word " * 2000,
)

#: ways into this machine or the volunteer's network, as written and, if it differs, as a browser
#: understands it (WHATWG URL, host parsing)
INNER_HOSTS: tuple[tuple[str, str], ...] = (
    ("127.0.0.1:{trap}", ""),
    ("gallery.localhost:{trap}", ""),
    ("[::1]:{trap}", ""),
    ("[::ffff:127.0.0.1]:{trap}", "[::ffff:7f00:1]:{trap}"),
    ("2130706433:{trap}", "127.0.0.1:{trap}"),
    ("0x7f.1:{trap}", "127.0.0.1:{trap}"),
    ("0.0.0.0:{trap}", ""),
    ("gallery.localhost:{web}@127.0.0.1:{trap}", ""),
    ("10.0.0.1", ""),
    ("192.168.1.1", ""),
    ("100.64.0.1", ""),
    ("169.254.169.254", ""),
)


def mismatch(desk: Desk) -> Snippet:
    """A fine picture with the caption of an unrelated scene."""
    picture = desk.picture()
    at = desk.address(picture.format)
    return _one(
        desk, picture, caption(desk.other_than(picture.scene)), DropReason.SIMILARITY, at.url
    )


def hostile_text(desk: Desk) -> Snippet:
    """A fine picture with a text that wants to break something."""
    picture = desk.picture()
    at = desk.address(picture.format)
    text = desk.dice.choice(HOSTILE_TEXTS)
    pair = Truth(at.url, " ".join(text.split()), DropReason.SIMILARITY)
    return Snippet(img(at.rooted, text), (pair,), None, ((at.url, picture),))


def control_characters(desk: Desk) -> Snippet:
    """A text with controls that would colour a terminal or ring its bell: they are taken out."""
    picture = desk.picture()
    at = desk.address(picture.format)
    pair = Truth(at.url, "one two[31m three", DropReason.SIMILARITY)
    markup = img(at.rooted, "one\x01 two\x1b[31m\x7f\x02 \x03 three\x07")
    return Snippet(markup, (pair,), None, ((at.url, picture),))


def not_http(desk: Desk) -> Snippet:
    """An address that is nothing for a downloader; it stays as written, and is refused by name."""
    url = desk.dice.choice(
        (
            "file:///etc/passwd",
            f"ftp://127.0.0.1:{desk.trap_port}/a.jpg",
            f"gopher://127.0.0.1:{desk.trap_port}/_GET",
            "javascript:alert(1)",
            "http://[::1/a.jpg",
            "http://",
            "http://a b/c.jpg",
        )
    )
    text = f"{caption(desk.scene())} {next(desk.numbers)}"
    return Snippet(img(url, text), (Truth(url, text, DropReason.URL_INVALID),))


def repeat(desk: Desk) -> Snippet:
    """The same picture and text twice, and once more with another text."""
    picture = desk.picture()
    at = desk.address(picture.format)
    text, other = tells(picture), caption(desk.other_than(picture.scene))
    pairs = (
        Truth(at.url, text),
        Truth(at.url, text, DropReason.DUPLICATE_PAIR),
        Truth(at.url, other, DropReason.SIMILARITY),
    )
    markup = img(at.rooted, text) + img(at.url, text) + img(at.rooted, other)
    return Snippet(markup, pairs, None, ((at.url, picture),))


def short_text(desk: Desk) -> Snippet:
    """A text under five characters: the picture must not even be asked for."""
    at = desk.address("jpg")
    text = desk.dice.choice(("logo", "ab", "🔴⭕", "1"))
    pair = Truth(at.url, text, DropReason.TEXT_TOO_SHORT)
    return Snippet(img(at.rooted, text), (pair,), None, (), (at.url,))


def no_text(desk: Desk) -> Snippet:
    """No text at all, three times: no pair."""
    at = [desk.address("jpg") for _ in range(3)]
    markup = (
        f'<img src="{at[0].rooted}"><img src="{at[1].rooted}" alt><img src="{at[2].name}" alt="  ">'
    )
    return Snippet(markup, forbidden=tuple(a.url for a in at))


def hidden(desk: Desk) -> Snippet:
    """Pictures in a comment, a script, a style and a text box: no pair."""
    at = [desk.address("jpg", stem="hidden") for _ in range(4)]
    text = caption(desk.scene())
    tags = [img(a.rooted, text) for a in at]
    markup = (
        f"<!-- {tags[0]} --><script>var tag = '{tags[1]}';</script>"
        f"<style>/* {tags[2]} */</style><textarea>{tags[3]}</textarea>"
    )
    return Snippet(markup, forbidden=tuple(a.url for a in at))


def svg_by_name(desk: Desk) -> Snippet:
    """A file name that promises a drawing, never a photograph: not asked for."""
    at = desk.address("svg")
    text = caption(desk.scene())
    pair = Truth(at.url, text, DropReason.URL_BLOCKED)
    return Snippet(img(at.rooted, text), (pair,), None, (), (at.url,))


def long_url(desk: Desk) -> Snippet:
    """A URL over the recipe's 2,000 characters: not asked for."""
    at = desk.address("jpg?" + "x" * 2100)
    text = caption(desk.scene())
    pair = Truth(at.url, text, DropReason.URL_TOO_LONG)
    return Snippet(img(at.rooted, text), (pair,), None, (), (at.url,))


def inner_address(desk: Desk) -> Snippet:
    """A way into the volunteer's own network, or to another port of this machine."""
    host, as_extracted = desk.dice.choice(INNER_HOSTS)
    ports = {"trap": desk.trap_port, "web": desk.web_port}
    path = f"/{next(desk.numbers)}.jpg"
    text = caption(desk.scene())
    url = f"http://{(as_extracted or host).format(**ports)}{path}"
    markup = img(f"http://{host.format(**ports)}{path}", text)
    return Snippet(markup, (Truth(url, text, DropReason.ADDRESS_REFUSED),))


def inner_redirect(desk: Desk) -> Snippet:
    """A picture of this web that sends the worker to the trap, or to a cloud's metadata."""
    location = desk.dice.choice(
        (f"http://127.0.0.1:{desk.trap_port}/x.jpg", "http://169.254.169.254/latest/meta-data/")
    )
    resource = Resource(Serve.REDIRECT, desk.scene(), location=location)
    return _one(desk, resource, tells(resource), DropReason.ADDRESS_REFUSED)


def redirect_loop(desk: Desk) -> Snippet:
    """A picture that redirects to itself."""
    at = desk.address("jpg", stem="loop")
    resource = Resource(Serve.REDIRECT, desk.scene(), location=at.url)
    return _one(desk, resource, tells(resource), DropReason.TOO_MANY_REDIRECTS, at.url)


def no_such_host(desk: Desk) -> Snippet:
    """A name that no resolver may look up (RFC 7686), so it fails at once and alike everywhere."""
    url = f"http://pictures{next(desk.numbers)}.onion/a.jpg"
    text = caption(desk.scene())
    return Snippet(img(url, text), (Truth(url, text, DropReason.DNS),))


def no_tls(desk: Desk) -> Snippet:
    """`https:` where only plain HTTP is spoken."""
    at = desk.address("jpg")
    url = at.url.replace("http:", "https:")
    text = caption(desk.scene())
    return Snippet(img(url, text), (Truth(url, text, DropReason.TLS),), None, (), (at.url,))


def _served(serve: Serve, fate: DropReason, host: str = "") -> Trouble:
    def trouble(desk: Desk) -> Snippet:
        # a JPEG: every decoder notices that half of one is missing, and half of it is no trifle
        resource = Resource(serve, desk.scene(), "jpeg")
        return _one(desk, resource, "", fate, host=host)

    trouble.__name__ = serve.value
    trouble.__doc__ = f"A matching text, and a URL that answers as `Serve.{serve.name}`."
    return trouble


def _one(
    desk: Desk, resource: Resource, text: str, fate: DropReason, url: str = "", host: str = ""
) -> Snippet:
    url = url or desk.address("jpg", host=host).url
    text = text or tells(resource)
    markup = f'<img src="{escape(url)}" alt="{escape(text)}">'
    return Snippet(markup, (Truth(url, text, fate),), None, ((url, resource),))


COMMON: tuple[Trouble, ...] = (
    hostile_text,
    control_characters,
    repeat,
    not_http,
    short_text,
    no_text,
    hidden,
    inner_address,
    svg_by_name,
    inner_redirect,
    long_url,
    redirect_loop,
    no_such_host,
    no_tls,
    _served(Serve.MISSING, DropReason.HTTP_STATUS),
    _served(Serve.FAILING, DropReason.HTTP_STATUS),
    _served(Serve.OPTED_OUT, DropReason.OPTED_OUT),
    _served(Serve.HTML, DropReason.NOT_AN_IMAGE),
    _served(Serve.HTML_AS_JPEG, DropReason.NOT_AN_IMAGE),
    _served(Serve.SVG, DropReason.FORMAT_REFUSED),
    _served(Serve.HUGE, DropReason.TOO_MANY_BYTES),
    _served(Serve.ENDLESS, DropReason.TOO_MANY_BYTES),
    _served(Serve.DOT, DropReason.TOO_FEW_BYTES),
    _served(Serve.SMALL, DropReason.TOO_SMALL),
    _served(Serve.BOMB, DropReason.TOO_MANY_PIXELS),
    _served(Serve.BMP, DropReason.FORMAT_REFUSED),
    _served(Serve.TRUNCATED, DropReason.BROKEN_IMAGE),
    _served(Serve.RESET, DropReason.CONNECT),
)

SLOW: tuple[Trouble, ...] = (
    _served(Serve.DRIP, DropReason.TIMEOUT, SLOW_HOST),
    _served(Serve.SILENT, DropReason.TIMEOUT, SLOW_HOST),
)
