"""The key of a pair: what makes two pairs the same one, everywhere in the project."""

import hashlib


def pair_key(url: str, text: str) -> int:
    """The first 64 bits of SHA-256 over URL, newline, text."""
    digest = hashlib.sha256(f"{url}\n{text}".encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:8], "big")


def sample_id(url: str, text: str) -> int:
    """A row's SAMPLE_ID: the key's first 63 bits, which fit into a signed column."""
    return pair_key(url, text) >> 1
