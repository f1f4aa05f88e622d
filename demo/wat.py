"""What Common Crawl's extractor says of a page: the `HTML-Metadata` of a WAT record.

After `ExtractingParseObserver` of commoncrawl/ia-web-commons: an `<img>` yields its `src`, `alt`
and `title` and nothing else, so pictures that hide in `srcset` or `data-src` are not in WAT.
"""

from typing import Any

from selectolax.lexbor import LexborHTMLParser, LexborNode

#: the extractor cuts link texts, but never an `alt`
MAX_ANCHOR_TEXT = 128
_META_NAMES = ("name", "rel", "content", "http-equiv", "property")


def html_metadata(html: str) -> dict[str, Any]:
    """The `HTML-Metadata` object of a page: what is in its head, and its links in order."""
    head: dict[str, Any] = {}
    links: list[dict[str, str]] = []
    for node in LexborHTMLParser(html).css("*"):
        have = node.attributes
        match node.tag:
            case "base" if have.get("href") is not None:
                head["Base"] = have["href"]
            case "title" if "Title" not in head:
                head["Title"] = node.text().strip()
            case "meta":
                meta = _present(node, _META_NAMES)
                if len(meta) > 1:
                    head.setdefault("Metas", []).append(meta)
            case "link" if have.get("href") is not None:
                link = {"path": "LINK@/href", "url": have["href"]} | _present(node, ("rel", "type"))
                head.setdefault("Link", []).append(link)
            case "script" if have.get("src") is not None:
                head.setdefault("Scripts", []).append({"path": "SCRIPT@/src", "url": have["src"]})
            case "a" if have.get("href") is not None:
                links.append(_anchor(node))
            case "img" if have.get("src") is not None:
                url = _trimmed(have["src"] or "")
                links.append({"path": "IMG@/src", "url": url} | _present(node, ("alt", "title")))
            case _:
                pass
    return {key: value for key, value in (("Head", head), ("Links", links)) if value}


def _anchor(node: LexborNode) -> dict[str, str]:
    link = {"path": "A@/href", "url": node.attributes["href"] or ""}
    link |= _present(node, ("target", "title", "rel"))
    if text := " ".join(node.text().split())[:MAX_ANCHOR_TEXT]:
        link["text"] = text
    return link


def _present(node: LexborNode, names: tuple[str, ...]) -> dict[str, str]:
    """Those attributes that the tag has; one without a value is the empty string."""
    return {name: node.attributes[name] or "" for name in names if name in node.attributes}


def _trimmed(url: str) -> str:
    """A `data:` URL without its data."""
    return url[: url.find(",") + 1] if url.startswith("data:") else url
