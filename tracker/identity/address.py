"""`AddressHasher`: from where a request came, as something that tells nobody where that is."""

import hashlib
import os
import secrets
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Final

_KEY_FILE: Final = "address.key"
#: What one customer of a provider has at least: more addresses than anyone could count.
_IPV6_PREFIX: Final = 64


class AddressHasher:
    """Rates are limited by address, so some word for it must be stored. It is an HMAC under a key
    that lies in the data directory, or beside the shards, and never in Redis: a stolen database
    names nobody."""

    def __init__(self, key: bytes, trusted_proxies: Sequence[str] = ()) -> None:
        """Believe `X-Forwarded-For` from these networks only.

        Raises:
            ValueError: one of them is no network.
        """
        self._key = key
        self._trusted = [ip_network(text) for text in trusted_proxies]
        self._hash = lru_cache(maxsize=50_000)(self._hashed)

    def hashed(self, peer: str, forwarded_for: str) -> str:
        """The word for who sent this: for the peer, or for whom trusted proxies name.

        Empty for this machine itself: that is an admin, or a proxy that nobody declared, behind
        which everybody would share one limit.
        """
        return self._hash(self._sender(peer, forwarded_for) if self._trusted else peer)

    def _sender(self, peer: str, forwarded_for: str) -> str:
        # Each proxy adds at the end; what stands before the first untrusted one is hearsay.
        hops = [hop.strip() for hop in forwarded_for[-2000:].split(",") if hop.strip()]
        sender = peer
        while hops and self._is_trusted(sender):
            sender = hops.pop()
        return sender

    def _is_trusted(self, text: str) -> bool:
        address = _parsed(text)
        # a peer without an address came through a unix socket, which only this machine has
        return (not text) if address is None else any(address in net for net in self._trusted)

    def _hashed(self, sender: str) -> str:
        address = _parsed(sender)
        if not sender or (address is not None and address.is_loopback):
            return ""
        if isinstance(address, IPv6Address):
            name = str(ip_network((address, _IPV6_PREFIX), strict=False))
        else:
            name = str(address or sender)
        return hashlib.blake2b(name.encode(), key=self._key, digest_size=12).hexdigest()


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.removeprefix("[").partition("]")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def address_key(data: Path) -> bytes:
    """The key in the data directory; made when there is none. All processes get the same."""
    path = data / _KEY_FILE
    try:
        return path.read_bytes()
    except FileNotFoundError:
        pass
    data.mkdir(parents=True, exist_ok=True)
    temporary = _written(data, secrets.token_bytes(32))
    try:
        os.link(temporary, path)  # whole or not at all, and the first one wins
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    return path.read_bytes()


def take_address_key(data: Path, key: bytes) -> None:
    """From now on this is the key in the data directory."""
    _written(data, key).replace(data / _KEY_FILE)


def _written(data: Path, key: bytes) -> Path:
    temporary = data / f".{_KEY_FILE}.{os.getpid()}.{secrets.token_hex(4)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key)
    return temporary
