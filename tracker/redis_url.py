"""`RedisPlace`: what the operator's `--redis-url` names: one server, a sentinel's, or a cluster.

    redis://[USER:PASSWORD@]HOST:PORT/DB         one server; rediss:// with TLS
    unix://[USER:PASSWORD@]/PATH                 one server on this machine
    redis+sentinel://…HOST:PORT,HOST:PORT/NAME   the master that these sentinels call NAME; its
                                                 database may follow: /NAME/1
    redis+cluster://…HOST:PORT,HOST:PORT         a cluster, by some of its nodes

The last two know `rediss+…` as well. `USER:PASSWORD` are those of the data servers; sentinels that
ask for some get `?sentinel_username=…&sentinel_password=…`. With `?replicas=1`, a change is
answered only after so many replicas have it. Other options after `?` are those of redis-py.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from redis.asyncio.connection import SSLConnection, parse_url

_PORTS: Final = {"sentinel": 26379, "cluster": 6379}
_OWN: Final = ("sentinel_username", "sentinel_password", "replicas")


class Kind(Enum):
    """How the servers are found."""

    SERVER = "server"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisPlace:
    """A parsed URL; it may hold passwords, so no repr shows what does."""

    kind: Kind
    url: str = field(repr=False)  #: of a single server: as it came, less our own options
    hosts: tuple[tuple[str, int], ...] = ()  #: sentinels, or nodes of the cluster
    service: str = ""  #: what sentinels call the master
    options: dict[str, Any] = field(default_factory=dict, repr=False)  #: of each data connection
    sentinel_options: dict[str, Any] = field(default_factory=dict, repr=False)
    replicas: int = 0  #: so many have a change before it is answered


def parse_redis_url(url: str) -> RedisPlace:
    """What the URL says.

    Raises:
        ValueError: it is no such URL. The message may repeat parts of it, also a password.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    own = {name: options.pop(name) for name in _OWN if name in options}
    replicas = int(own.pop("replicas", "0"))
    if replicas < 0:
        raise ValueError("replicas cannot be negative")
    scheme, _, kind = parts.scheme.partition("+")
    query = f"?{urlencode(options)}" if options else ""
    if not kind:
        if own or parts.fragment:
            raise ValueError("sentinel options and no sentinel, or a # in the password")
        plain = url.partition("?")[0] + query
        parse_url(plain)
        return RedisPlace(kind=Kind.SERVER, url=plain, replicas=replicas)

    if scheme not in ("redis", "rediss") or kind not in _PORTS or parts.fragment:
        raise ValueError("no scheme of ours")
    login, _, names = parts.netloc.rpartition("@")
    hosts = tuple(_host(name, _PORTS[kind]) for name in names.split(","))
    service, _, database = parts.path.strip("/").partition("/")
    if kind == "cluster" and (service or replicas or own):
        raise ValueError("a cluster has one database; `replicas` and sentinels are not for it")
    if kind == "sentinel" and not service:
        raise ValueError("the name that sentinels have for the master is missing")
    at = f"{login}@" if login else ""
    parsed: dict[str, Any] = {**parse_url(f"{scheme}://{at}host:1/{int(database or 0)}{query}")}
    tls = parsed.pop("connection_class", None) is SSLConnection
    for name in ("host", "port"):
        parsed.pop(name)
    if not parsed.get("db"):
        parsed.pop("db", None)
    return RedisPlace(
        kind=Kind(kind),
        url="",
        hosts=hosts,
        service=service,
        options={**parsed, **({"ssl": True} if tls else {})},
        sentinel_options={
            **{name.removeprefix("sentinel_"): value for name, value in own.items()},
            **({"ssl": True} if tls else {}),
            **{name: value for name, value in parsed.items() if tls and name.startswith("ssl_")},
        },
        replicas=replicas,
    )


def _host(name: str, port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{name}")  # knows [::1]:6379 too
    if not parts.hostname or parts.path:
        raise ValueError("a host is missing")
    return parts.hostname, parts.port or port
