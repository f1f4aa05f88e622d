"""The version of the filters, and the digest that two workers must agree on."""

import hashlib
import random
from pathlib import Path

from laion_protocol import Recipe, SourceKind
from tests.worker_client.archives import page, read, write
from worker_client.pipeline.extract import PairsDigest, extract
from worker_client.pipeline.screen import Screen
from worker_client.pipeline.version import FILTER_VERSION
from worker_client.samples import Dropped, Pair
from worker_client.tally import Tally

#: What the pages below give, by version. When this test fails, extraction or screening makes
#: something else of the same page: raise FILTER_VERSION and put the new output's hash here.
GOLDEN = {"1": "e7640bb4dd9c8ec7"}

PAGES = [
    "<base href=/b/><img src=a.jpg alt='A stone bridge'><img src=b.svg alt='A drawn bridge'>",
    "<img src=' x y.png?q=ü#f ' alt=' Br&uuml;cke\n über den  Fluss '><img src=ftp://a alt=ftp>",
    "<img src='data:image/gif;base64,R0' data-src=lazy.jpg alt='A lazy bridge'>"
    "<noscript><img src=lazy.jpg alt='A lazy bridge'></noscript>",
    "<img srcset='s.jpg 1x, l,1.jpg 2x' alt='A wide bridge'><picture><source srcset=p.webp>"
    "<img alt='A pictured bridge'></picture>",
    "<figure><img src=f.jpg><figcaption>A captioned <i>bridge</i></figcaption></figure>",
    "<img src=/i/spacer.gif data-original=o.jpg alt='An original bridge'><img src=n.jpg alt=no>",
    "<img src=l.jpg alt='Мост через реку'>"
    "<a rel=license href=//creativecommons.org/licenses/by/4.0/>",
    "<meta charset=windows-1251><img src=//CDN.example:80/%7Ea/../r.jpg alt='caf\u00e9 IMG_42'>",
]


def test_the_same_pages_give_the_same_or_the_version_is_raised(tmp_path: Path) -> None:
    pieces = [page(html, url=f"http://site.example/d/{n}") for n, html in enumerate(PAGES)]
    tally = Tally()
    pairs = extract(read(write(tmp_path, pieces, "a.warc")), SourceKind.WARC, tally)
    lines = [
        repr((item.reason.value, item.pair.url)) if isinstance(item, Dropped) else repr(item)
        for item in Screen(Recipe(kind=SourceKind.WARC)).screen(pairs)
    ]
    assert len(lines) == tally.pairs == 13, lines
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    assert GOLDEN[FILTER_VERSION] == digest, "\n".join(lines)


def some(count: int) -> list[Pair]:
    return [Pair(f"http://s.example/{n}", f"text {n}", "http://s.example/") for n in range(count)]


def digest_of(pairs: list[Pair]) -> str:
    digest = PairsDigest()
    assert list(digest.watch(pairs)) == pairs
    return digest.hexdigest()


def test_the_digest_does_not_depend_on_the_order() -> None:
    pairs = some(50)
    shuffled = random.Random(1).sample(pairs, 50)
    assert digest_of(pairs) == digest_of(shuffled)
    assert len(digest_of([])) == 64


def test_the_digest_tells_every_difference() -> None:
    pairs = some(4)
    swapped = [Pair(pairs[0].url, pairs[1].text, ""), Pair(pairs[1].url, pairs[0].text, "")]
    moved = [Pair("http://s.example/", "0text 0", "")]
    digests = [digest_of(one) for one in (
        pairs, pairs[:3], [*pairs, pairs[0]], [*pairs, *pairs[:1] * 2], [*swapped, *pairs[2:]],
        moved, [Pair("http://s.example/0", "text 0", "")],
    )]  # fmt: skip
    assert len(set(digests)) == len(digests)


def test_the_digest_is_what_its_definition_says() -> None:
    for count in range(9):
        pairs = some(count)
        sums = [hashlib.sha256(f"{one.url}\0{one.text}".encode()).digest() for one in pairs]
        total = sum(map(int.from_bytes, sums)) % 2**256
        assert digest_of(pairs) == f"{total:064x}"
