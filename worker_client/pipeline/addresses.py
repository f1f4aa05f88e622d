"""Which endpoints a volunteer's machine may connect to on behalf of a stranger's web page.

Judged on the address that is about to be connected, after the name is resolved, so neither a
name that resolves to the home router nor one that changes between look-up and connect
(DNS rebinding) gets through.
"""

import ipaddress
from typing import Final

#: The web's own ports; on any other a GET may mean something to a service that is no web server.
WEB_PORTS: Final = frozenset({80, 443})

#: What must not be connected, by name. IANA's special-purpose registries (RFC 6890 and updates),
#: stated here because what `ipaddress` knows differs between Python versions.
_REFUSED: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("unspecified", ("0.0.0.0/8", "::/128")),
    ("loopback", ("127.0.0.0/8", "::1/128")),
    ("private", ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")),
    ("link-local", ("169.254.0.0/16", "fe80::/10")),  # holds 169.254.169.254, cloud metadata
    ("site-local", ("fec0::/10",)),
    ("carrier NAT", ("100.64.0.0/10",)),
    ("cloud metadata", ("168.63.129.16/32",)),  # Azure's, an address of the public range
    ("benchmark", ("198.18.0.0/15", "2001:2::/48")),
    ("documentation", ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")),
    ("documentation", ("2001:db8::/32", "3fff::/20")),
    ("multicast", ("224.0.0.0/4", "ff00::/8")),
    ("reserved", ("192.0.0.0/24", "192.88.99.0/24", "240.0.0.0/4", "2001::/23")),
)
_NETWORKS: Final = tuple(
    (name, ipaddress.ip_network(network)) for name, networks in _REFUSED for network in networks
)
_GLOBAL_UNICAST_V6: Final = ipaddress.IPv6Network("2000::/3")  # all that IANA has handed out
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: IPv4 in the last 32 bits
_TEREDO: Final = ipaddress.IPv6Network("2001::/32")


def refusal(address: str, port: int) -> str | None:
    """Why this endpoint must not be connected, in a few words, or None when it may.

    `address` is a numeric IPv4 or IPv6 address as a socket has it; anything else is refused.
    """
    if port not in WEB_PORTS:
        return f"port {port} is not a web port"
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "not an IP address"
    return _range_refusal(parsed)


def parse_endpoint(text: str) -> tuple[str, int]:
    """`ADDRESS:PORT` (IPv6 in brackets) as the pair that a socket has; `localhost` is 127.0.0.1.

    Raises:
        ValueError: it is no numeric address with a port, in one sentence for a person.
    """
    host, _, port = text.strip().rpartition(":")
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host.strip("[]"))
        number = int(port)
    except ValueError:
        number = -1
    if not 0 < number < 65536:
        raise ValueError(
            f"{text!r} is not ADDRESS:PORT with a numeric address; write for example 127.0.0.1:8080"
        )
    return str(address), number


def is_literal(host: str) -> bool:
    """Whether a URL's host is a numeric address, IPv6 in brackets or not, rather than a name."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _range_refusal(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str | None:
    if isinstance(address, ipaddress.IPv6Address):
        inner = _embedded_ipv4(address)
        if inner is not None:
            why = _range_refusal(inner)
            if why is not None:
                return f"{why} inside IPv6"
            if address in _NAT64 or address.ipv4_mapped is not None:
                return None  # another spelling of a public IPv4 address
    for name, network in _NETWORKS:
        if address.version == network.version and address in network:
            return name
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_UNICAST_V6:
        return "not a global IPv6 address"
    if not address.is_global:
        return "not a global address"
    return None


def _embedded_ipv4(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a translator or tunnel would take the packet to, if there is one."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _TEREDO and address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return None
