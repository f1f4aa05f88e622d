"""`largest`: the biggest picture that a `srcset` offers."""

import re

from .urls import is_data

#: Longer lists are cut: a real one names a dozen pictures.
MAX_CHARS = 64 * 2**10

_CANDIDATE = re.compile(r"[\s,]*(\S+)")
_DESCRIPTOR = re.compile(r"(\d+(?:\.\d+)?)([wx])")


def largest(srcset: str) -> str:
    """The address with the largest width or density; "" without one. `data:` URIs do not count.

    Reads candidates as the HTML standard does: an address goes up to white space, so it may hold
    commas, and one that ends in a comma has no descriptors.
    """
    srcset = srcset[:MAX_CHARS]
    best, best_size = "", 0.0
    position = 0
    while found := _CANDIDATE.match(srcset, position):
        address, position = found[1], found.end()
        if address.endswith(","):
            address, descriptors = address.rstrip(","), ""
        else:
            end = _descriptors_end(srcset, position)
            descriptors, position = srcset[position:end], end
        if not address or is_data(address):
            continue
        size = 1.0
        for word in descriptors.split():
            if described := _DESCRIPTOR.fullmatch(word):
                size = float(described[1])
        if size > best_size:
            best, best_size = address, size
    return best


def _descriptors_end(srcset: str, position: int) -> int:
    """The next comma outside parentheses, or the end."""
    depth = 0
    for at in range(position, len(srcset)):
        character = srcset[at]
        if character == "(":
            depth += 1
        elif character == ")":
            depth = max(0, depth - 1)
        elif character == "," and not depth:
            return at
    return len(srcset)
