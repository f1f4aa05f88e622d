"""The cheap mode finds the pairs of the deep mode, but for those that WAT files do not hold."""

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

from laion_protocol import Damage, SourceKind
from tests.worker_client.archives import DATA, member, needs_data, read, record, write
from worker_client.pipeline.extract import extract
from worker_client.samples import Pair
from worker_client.tally import Tally

TRUTH = sorted(DATA.glob("truth/pairs_*.tsv"))


def pairs_of(location: str | Path, kind: SourceKind) -> tuple[list[Pair], Tally]:
    tally = Tally()
    return list(extract(read(location, tally=tally), kind, tally)), tally


def envelope(links: list[dict[str, str]], **over: object) -> dict[str, object]:
    html: dict[str, object] = {"Links": links, **over}
    return {
        "Envelope": {
            "WARC-Header-Metadata": {"WARC-Target-URI": "http://site.example/dir/page.html"},
            "Payload-Metadata": {
                "HTTP-Response-Metadata": {
                    "Response-Message": {"Status": "200"},
                    "HTML-Metadata": html,
                }
            },
        }
    }


def wat(tmp_path: Path, *blocks: bytes | dict[str, object]) -> tuple[list[Pair], Tally]:
    pieces = [
        member(
            record(
                block if isinstance(block, bytes) else json.dumps(block).encode(),
                type="metadata",
                content_type="application/json",
            )
        )
        for block in blocks
    ]
    return pairs_of(write(tmp_path, pieces, "a.warc.wat.gz"), SourceKind.WAT)


def image(url: str, alt: str = "a bridge") -> dict[str, str]:
    return {"path": "IMG@/src", "url": url, "alt": alt}


def test_links_become_pairs_as_on_the_page(tmp_path: Path) -> None:
    pairs, tally = wat(
        tmp_path,
        envelope([
            image("a.jpg", " two\n lines "),
            image("//cdn.example/b.jpg#x"),
            image("data:image/gif;base64,"),
            image("  "),
            image("c.jpg", " "),
            {"path": "IMG@/src", "url": "d.jpg"},
            {"path": "A@/href", "url": "e.jpg", "alt": "anchor"},
            image("javascript:void(0)"),
        ]),
    )  # fmt: skip
    assert [(pair.url, pair.text) for pair in pairs] == [
        ("http://site.example/dir/a.jpg", "two lines"),
        ("http://cdn.example/b.jpg", "a bridge"),
        ("javascript:void(0)", "a bridge"),
    ]
    assert (tally.pages, tally.pairs) == (1, 3)


def test_base_and_licence_are_those_of_the_head_and_the_links(tmp_path: Path) -> None:
    licence = "https://creativecommons.org/licenses/by/4.0/"
    links = [image("a.jpg"), {"path": "A@/href", "url": licence, "rel": "license"}]
    pairs, _ = wat(tmp_path, envelope(links, Head={"Base": "/img/", "Link": [{"url": "x"}]}))
    assert [(one.url, one.license) for one in pairs] == [("http://site.example/img/a.jpg", licence)]


@pytest.mark.parametrize(
    "bad",
    [
        b'{"HTML-Metadata" "IMG@/src" cut',
        b'{"HTML-Metadata": [' + b"[" * 100_000 + b'"IMG@/src"',
        b'{"Envelope": "HTML-Metadata", "x": "IMG@/src"}',
        json.dumps(envelope([{"path": "IMG@/src", "url": 5}])).encode(),  # type: ignore[dict-item]
    ],
)
def test_one_broken_json_is_counted_and_the_next_record_is_read(tmp_path: Path, bad: bytes) -> None:
    pairs, tally = wat(tmp_path, bad, envelope([image("a.jpg")]))
    assert len(pairs) == 1
    assert tally.damage == {Damage.JSON_BROKEN: 1}


def test_half_a_surrogate_or_a_stray_byte_does_not_cost_the_page(tmp_path: Path) -> None:
    text = json.dumps(envelope([image("a.jpg", "br\ud83didge"), image("b.jpg")])).encode()
    pairs, tally = wat(tmp_path, text, text.replace(b"br\\ud83didge", b"br\xffidge"))
    assert [pair.text for pair in pairs] == ["bridge", "a bridge", "br\ufffdidge", "a bridge"]
    assert not tally.damage


def test_pages_that_failed_and_other_records_make_no_pair(tmp_path: Path) -> None:
    failed = json.loads(json.dumps(envelope([image("a.jpg")])).replace('"200"', '"404"'))
    request = {"Envelope": {"Payload-Metadata": {"HTTP-Request-Metadata": {}}}}
    no_image = envelope([{"path": "A@/href", "url": "a.html"}])
    pairs, tally = wat(tmp_path, failed, request, no_image)
    assert (pairs, tally.pages) == ([], 1)


# ── against the truth, and against each other ────────────────────────────────────────────────────

#: Pairs of `src` that the truth lacks: captions, which only the deep mode reads.
CAPTIONS = {"dolma-sample-0000.warc.gz": 5}
#: The truth keeps blanks in URLs, which no server would understand; we percent-encode them.
BLANKS = {"CC-MAIN-20140820021334-00006.excerpt.warc": 861}
#: Pages whose Content-Encoding the maker of these WAT files did not undo.
UNSEEN_BY_WAT = {"lil-projects.warc.gz": 1}


def truths() -> list[object]:
    if not TRUTH:
        return [pytest.param(None, marks=needs_data, id="shared-data-absent")]
    return [pytest.param(path, id=path.stem.removeprefix("pairs_")) for path in TRUTH]


@pytest.mark.parametrize("path", truths())
def test_the_deep_mode_finds_the_true_pairs_and_no_others(path: Path) -> None:
    name = path.stem.removeprefix("pairs_")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
    truth = Counter((row[0], row[1].replace(" ", "%20"), " ".join(row[2].split())) for row in rows)
    assert sum(" " in row[1] for row in rows) <= BLANKS.get(name, 0)
    pairs, tally = pairs_of(next(DATA.glob(f"warc/*/{name}")), SourceKind.WARC)
    found = Counter((one.page_url, one.url, one.text) for one in pairs if one.source == "img")
    assert truth - found == Counter()
    assert (found - truth).total() == CAPTIONS.get(name, 0)
    assert not tally.damage


@pytest.mark.parametrize("path", truths())
def test_the_cheap_mode_finds_the_pairs_of_the_deep_mode(path: Path) -> None:
    name = path.stem.removeprefix("pairs_")
    derived = DATA / "wat_derived" / f"{name.removesuffix('.gz')}.wat.gz"
    if not derived.exists():
        pytest.skip(f"no WAT was made of {name}")
    deep, deep_tally = pairs_of(next(DATA.glob(f"warc/*/{name}")), SourceKind.WARC)
    cheap, tally = pairs_of(derived, SourceKind.WAT)
    of_src = Counter(one for one in deep if one.source == "img")
    assert Counter(cheap) - of_src == Counter()
    lost = of_src - Counter(cheap)
    assert lost.total() == CAPTIONS.get(name, 0) + UNSEEN_BY_WAT.get(name, 0)
    assert not tally.damage
    assert tally.pages >= deep_tally.pages


@needs_data
def test_a_true_wat_of_common_crawl_gives_the_pairs_of_its_pages() -> None:
    """The excerpt's WAT covers its first two responses."""
    excerpt = DATA / "warc" / "commoncrawl" / "CC-MAIN-20140820021334-00006.excerpt.warc"
    cheap, _ = pairs_of(excerpt.with_name(f"{excerpt.name}.wat"), SourceKind.WAT)
    deep, _ = pairs_of(excerpt, SourceKind.WARC)
    assert len(cheap) == 4
    assert Counter(cheap) - Counter(deep) == Counter()
