"""`DownloadSettings`: how hard, how long and whom the downloader may ask."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from laion_protocol import Recipe

Endpoint = tuple[str, int]  #: numeric address and port


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadSettings:
    """Bounds of the download stage. Times are seconds, sizes bytes."""

    user_agent: str  #: names the project and a contact URL; sites refuse those that do not
    max_bytes: int = 20 * 2**20
    min_bytes: int = 0
    honour_opt_out: bool = True
    formats: tuple[str, ...] = ("jpeg", "png", "webp", "gif")  #: asked for in `Accept`
    in_flight: int = 256  #: requests at once; enough for 100 Mbit/s at web latencies
    waiting: int = 1024  #: pairs held beyond those, so that one slow host does not hold up the rest
    max_buffered: int = (
        256 * 2**20
    )  #: bodies held; above it none starts, above twice it but one grows
    per_host: int = 2  #: connections at once to one host name
    per_host_delay: float = 0.1  #: between two starts at one host
    timeout: float = 20.0  #: of a whole picture: all redirects, the retry, the last byte
    connect_timeout: float = 5.0
    low_speed: int = 100  #: bytes per second below which a transfer is cut …
    low_speed_time: int = 8  #: … after this many seconds
    max_redirects: int = 5
    retry_delay: float = 0.5  #: before the one retry, unless the server names a time
    host_failures: int = 5  #: in a row, before a host is left alone …
    host_pause: float = 300.0  #: … for this long
    #: endpoints opened although the guard would refuse them, for tests and the demo
    allow_private: frozenset[Endpoint] = frozenset()
    #: send every request, over plain HTTP, to this host and port; a stand-in for the whole web.
    #: The guard judges that address too: a private one needs `allow_private` as well.
    connect_to: tuple[str, int] | None = None
    ca_file: Path | None = None  #: the only certificates trusted; else certifi's or the system's
    #: fixed look-ups, "host:port:address[,address]" (curl's --resolve); the guard judges them too
    resolve: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what would send anonymous requests or send none.

        Raises:
            ValueError: no user agent, or a bound that lets nothing through.
        """
        if not self.user_agent.strip() or not self.user_agent.isprintable():
            raise ValueError("user_agent must name the project and a contact")
        for name in ("max_bytes", "in_flight", "per_host", "timeout", "connect_timeout"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above zero, it is {getattr(self, name)}")

    @classmethod
    def for_recipe(
        cls,
        recipe: Recipe,
        *,
        user_agent: str,
        allow_private: frozenset[Endpoint] = frozenset(),
        connect_to: tuple[str, int] | None = None,
        ca_file: Path | None = None,
    ) -> Self:
        """The defaults, with the recipe's bounds on bytes, formats and opt-outs."""
        return cls(
            user_agent=user_agent,
            max_bytes=recipe.max_image_bytes,
            min_bytes=recipe.min_image_bytes,
            honour_opt_out=recipe.honour_opt_out,
            formats=recipe.formats,
            allow_private=allow_private,
            connect_to=connect_to,
            ca_file=ca_file,
        )
