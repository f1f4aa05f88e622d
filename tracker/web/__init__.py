"""Pages that people see in a browser: plain HTML, no scripts, nothing from elsewhere."""

import base64
import hashlib
import re
from html import escape
from importlib.resources import files
from string import Template
from typing import Final

_FOLDER: Final = files(__package__)
_PAGE: Final = (_FOLDER / "page.html").read_text(encoding="utf-8")


def _style_hash() -> str:
    found = re.search(r"<style>(.*?)</style>", _PAGE, re.DOTALL)
    assert found is not None
    return base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()


#: Sent with every page: it runs no script, loads nothing, stays in no cache and in no frame.
HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_style_hash()}'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def page(title: str, body: str, **fields: str) -> str:
    """The page with the fragment `body` (a file of this folder), its fields escaped."""
    safe = {name: escape(text) for name, text in fields.items()}
    fragment = Template((_FOLDER / f"{body}.html").read_text(encoding="utf-8")).substitute(safe)
    return Template(_PAGE).substitute(title=escape(title), body=fragment)
